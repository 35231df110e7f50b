"""A mistake of the user's is exit code 2 and one line on stderr, and leaves nothing half-written."""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spikeproof.cli.main import main
from spikeproof.data import load_data
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train

VANILLA = "demo-digits-vanilla"


@pytest.mark.parametrize(("words", "instead"), [(["demo"], "without"), (["compare", "demo-digits"], "--share")])
def test_many_networks_are_not_for_torchrun(refused, monkeypatch, tmp_path, words, instead):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(*words, "--out", tmp_path / "out", says=["torchrun -m spikeproof.cli.main train", instead])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nope"], ["nope", "demo, recipes, train, audit, certify, harden, compare, watch, report"]),
        (["train"], ["RECIPE", "spikeproof recipes"]),
        (["audit"], ["RUN"]),
        (["report"], ["run folder"]),
        (["recipes", "nonesuch", "vgg11"], ["No recipe has nonesuch and vgg11"]),
        (["train", "demo-digits-vanila"], ["did you mean demo-digits-vanilla?"]),
        (["train", "resnet50-imagenet"], ["resnet50-imagenet", "spikeproof recipes"]),
        (["demo", "--epochs", "3"], ["--epochs"]),
        (["report", "nowhere"], ["nowhere", "run folder"]),
        (["audit", "nowhere"], ["nowhere", "config.json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_commands_that_are_none(refused, words, says):
    refused(*words, says=says)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--train.epoch", "3"], ["--train.epoch", "--train.epochs"]),
        (["--mpd-sgr.eta", "0.5"], ["--mpd-sgr.eta"]),
        (["stray"], ["stray"]),
        (["--train.epochs"], ["--train.epochs"]),
        (["--train.epochs", "three"], ["--train.epochs", "three"]),
        (["--train.epochs", "1.5"], ["--train.epochs", "1.5"]),
        (["--train.epochs", "0"], ["epochs >= 1", "0"]),
        (["--train.learning-rate", "-0.1"], ["learning_rate > 0", "-0.1"]),
        (["--train.learning-rate", "nan"], ["learning_rate > 0", "nan"]),
        (["--train.precision", "fp16"], ["fp16", "bf16", "auto"]),
        (["--train.device", "tpu"], ["tpu", "cuda"]),
        (["--audit.eps", "-1"], ["--audit.eps", "-1", "8/255"]),
        (["--audit.eps", "abc"], ["--audit.eps", "abc", "8/255"]),
        (["--audit.eps", "1/0"], ["--audit.eps", "1/0"]),
        (["--audit.eps", "nan"], ["--audit.eps", "nan"]),
        (["--audit.sweep", "0.1", "2"], ["--audit.sweep", "2"]),
        (["--audit.trials", "CWW"], ["CWW", "PGD-20@RGA"]),
        (["--audit.trials", "PGD-20@HARD"], ["HARD", "HART"]),
        (["--audit.battery", "quik"], ["quik", "quick"]),
        (["--audit.step-sweep", "0"], ["step_sweep", "0"]),
        (["--audit.samples", "0"], ["samples >= 1"]),
        (["--model.neuron.surrogate", "step"], ["step", "triangle"]),
        (["--model.neuron.surrogate", "sigmoid(-1)"], ["sigmoid(-1)", "alpha"]),
        (["--model.neuron.decay", "2"], ["decay", "2"]),
        (["--model.name", "resnet50"], ["resnet50", "conv"]),
        (["--model.width", "0"], ["width", "0"]),
        (["--model.name", "vgg16", "--model.width", "0.01"], ["8 pixels", "too small"]),
        (["--data.name", "imagenet"], ["imagenet", "digits"]),
        (["--data.validation", "0"], ["validation", "0"]),
        (["--data.validation", "5000"], ["5000"]),
        (["--data.classes", "3", "12"], ["12", "0 to 9"]),
        (["--data.train-limit", "10"], ["10 images", "64", "batch_size"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith(("-", "stray")) else None,
)
def test_train_options_that_do_not_fit(refused, tmp_path, options, says):
    refused("train", VANILLA, *options, "--out", tmp_path / "run", says=says)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "options", "says"),
    [
        ("demo-digits-at", ["--at.eps", "-1"], ["--at.eps", "-1"]),
        ("demo-digits-at", ["--at.attack", "cw"], ["cw", "pgd"]),
        ("demo-digits-tgo", ["--tgo.delta", "0"], ["delta"]),
        ("demo-digits-mpd-sgr", ["--mpd-sgr.warmup", "1"], ["warmup"]),
    ],
)
def test_defenses_that_do_not_fit(refused, tmp_path, recipe, options, says):
    refused("train", recipe, *options, "--out", tmp_path / "run", says=says)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "demo-digits-tgo", "--with", "tgo"], ["already", "tgo"]),
        (["train", "demo-digits-tgo", "--with", "armour"], ["armour", "mpd-sgr"]),
        (["train", "demo-digits-tgo", "--with"], ["--with"]),
        (["train", "demo-digits-at", "--with", "trades", "--out", "unused"], ["AT", "TRADES", "training batch"]),
        (["train", "demo-digits-tgo", "--model.coding", "morse"], ["morse"]),
        (["compare"], ["FAMILY", "mini-cifar10"]),
        (["compare", "maxi"], ["maxi", "demo-digits"]),
        (["compare", "demo-digits", "--rows", "armour"], ["demo-digits-armour"]),
        (["compare", "demo-digits", "--share", "2/2"], ["2/2"]),
        (["compare", "demo-digits", "--tgo.sigma", "1"], ["--tgo.sigma"]),
    ],
    ids=str,
)
def test_defenses_codings_and_families_that_do_not_fit(refused, monkeypatch, tmp_path, words, says):
    monkeypatch.chdir(tmp_path)
    refused(*words, says=says)
    assert not any(tmp_path.rglob("*.safetensors"))


def test_a_learning_rate_that_ends_in_nan(call, train_words, tmp_path):
    code, _, err = call(*train_words(tmp_path / "run", train__learning_rate=1e30, train__epochs=3))
    assert code == 2
    assert err.splitlines()[-1].startswith("spikeproof: The loss is")
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_folder_in_use(refused, trained, train_words):
    refused(*train_words(trained), says=[trained, "already holds a run", "--resume"])


def test_resuming_with_other_settings(refused, trained, train_words):
    refused(
        *train_words(trained, "--resume", train__seed=4, data__seed=5),
        says=["train.seed: 0 then, 4 now", "data.seed: 0 then, 5 now"],
    )


def test_a_file_where_the_folder_should_be(refused, train_words, tmp_path):
    (tmp_path / "taken").write_text("")
    refused(*train_words(tmp_path / "taken"), says=[tmp_path / "taken"])


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--eps", "-1"], ["--eps", "-1", "8/255"]),
        (["--eps", "abc"], ["--eps", "abc", "8/255"]),
        (["--radius", "0.1"], ["--radius", "--eps"]),
        (["--samples", "501"], ["500 images", "501"]),
        (["--samples", "60", "--split", "validation"], ["50 images", "60"]),
        (["--split", "train"], ["train", "validation"]),
        (["--trials", "CWW"], ["CWW", "PGD"]),
        (["--trials", "PGD-20@ASSG:high"], ["ASSG:high"]),
        (["--trials", "SA-PGD@ASSG"], ["protocol", "PGD-20"]),
        (["--battery", "quik"], ["quik", "quick"]),
        (["--judge-draws", "0"], ["judge_draws >= 1"]),
        (["--judge-draws", "2147483648"], ["judge_draws", "up to 100000", "2147483648"]),
        (["--eot-iter", "99999999999999999999"], ["eot_iter", "up to 100000"]),
        (["--step-sweep", "5", "9999999999"], ["step_sweep", "up to 1000000"]),
        (["--seed", "9223372036854775808"], ["seed", "9223372036854775807"]),
        (["--batch-size", "99999999999999999999"], ["batch_size", "up to"]),
        (["--trials", "PGD-99999999999999999999"], ["PGD-9", "at most 1000000"]),
        (["--eps", "1e400"], ["eps"]),
        (["--out", "a\x00b"], ["can be no path"]),
        (["--substitutes", "a\x00b"], ["can be no path"]),
        (["--eot-iter", "0"], ["eot_iter >= 1"]),
        (["--noise", "True"], ["Noise", "TGO"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("-") else None,
)
def test_audit_options_that_do_not_fit(refused, audited, options, says):
    before = {path: path.read_bytes() for path in audited.rglob("*") if path.is_file()}
    refused("audit", audited, *options, says=says)
    assert {path: path.read_bytes() for path in audited.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [["--trials", "PGD-2", "CW-2"], ["--eps", "0"]], ids=" ".join)
def test_an_audit_never_leaves_a_folder_that_cannot_be_reported(call, audited, options):
    code, _, err = call("audit", audited, "--device", "cpu", *options)
    assert code in (0, 2)
    assert "Traceback" not in err
    code, _, err = call("report", audited)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("words", [("report",), ("leaderboard",), ("push", "there")], ids=lambda words: words[0])
def test_a_place_that_can_be_no_path(refused, audited, tmp_path, words):
    option = {"report": "--out", "leaderboard": "--page", "push": "--audit"}[words[0]]
    before = {path: path.read_bytes() for path in audited.rglob("*") if path.is_file()}
    command, *more = words
    refused(command, audited, *(tmp_path / each for each in more), option, "a\x00b", says=["can be no path"])
    assert {path: path.read_bytes() for path in audited.rglob("*") if path.is_file()} == before


def test_an_unfinished_run(refused, trained):
    (trained / "model.safetensors").unlink()
    refused("audit", trained, says=[trained, "not finished", "--resume"])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_damaged_weights(refused, trained, train_words, share):
    weights = trained / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(share * weights.stat().st_size)])
    refused("audit", trained, says=[weights, "damaged"])
    refused(*train_words(trained, "--resume"), says=[weights, "damaged"])


def test_weights_that_are_none_of_ours(refused, trained):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, trained / "model.safetensors")
    refused("audit", trained, says=[trained / "model.safetensors", "which model"])


@pytest.mark.parametrize(
    "changes",
    [
        {"model__num_steps": 2},
        {"model__width": 0.5},
        {"model__neuron__surrogate": "sigmoid(2.5)"},
        {"model__neuron__decay": 0.5},
        {"data__classes": "3"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_weights_of_another_run(refused, trained, train_words, tmp_path, changes):
    words = train_words(tmp_path / "other", **changes)
    if "data__classes" in changes:
        words[words.index("--data.classes") + 1 : words.index("--data.classes") + 2] = ["3", "8"]
        words[words.index("--data.train-limit") + 1] = "128"
    main(words)
    shutil.copy(tmp_path / "other" / "model.safetensors", trained / "model.safetensors")
    refused("audit", trained, "--device", "cpu", says=[trained / "model.safetensors"])
    assert not (trained / "audits").exists()


@pytest.mark.parametrize("text", ["{", "", "[]", "{}", "null", '{"recipe": {}}', '{"recipe": 3}'])
def test_a_damaged_config(refused, trained, train_words, text):
    (trained / "config.json").write_text(text)
    refused("audit", trained, says=[trained])
    refused("report", trained, says=[trained / "config.json"])
    refused(*train_words(trained, "--resume"), says=[trained])


def test_a_config_without_its_model(refused, trained):
    config = json.loads((trained / "config.json").read_text())
    del config["recipe"]["model"], config["sha256"]
    (trained / "config.json").write_text(json.dumps(config))
    refused("audit", trained, says=[trained, "model"])


@pytest.mark.parametrize("name", ["audit.json", "pictures.npz", "metrics.jsonl"])
def test_damaged_files_of_a_report(refused, audited, audit_in, name):
    damaged = (audited if name == "metrics.jsonl" else audit_in(audited)) / name
    damaged.write_bytes(damaged.read_bytes()[:-30])
    refused("report", audited, says=[damaged])


def test_a_run_made_in_python_has_no_audit_to_repeat(refused, tmp_path):
    data = load_data("digits", validation=50, train_limit=64)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    config = TrainConfig(epochs=1, augmentation=None, device="cpu", precision="fp32")
    train(model, data, config=config, out=tmp_path / "run", show=False)
    refused("audit", tmp_path / "run", says=[tmp_path / "run"])


def test_a_folder_that_is_no_run(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("report", tmp_path / "empty", says=[tmp_path / "empty"])
    refused("audit", tmp_path / "empty", says=[tmp_path / "empty"])
    (tmp_path / "file").write_text("")
    refused("report", tmp_path / "file", says=[tmp_path / "file"])
    refused("audit", tmp_path / "file", says=[tmp_path / "file"])


def test_a_report_where_a_folder_is(call, audited, tmp_path):
    code, _, err = call("report", audited, "--out", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert str(tmp_path) in err
    assert "folder" in err


def write_cifar10(folder, count=40):
    """A few noisy pictures as the hub's CIFAR-10 files hold them."""
    random = np.random.default_rng(0)
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        encoded = []
        for _ in range(count):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "png")
            encoded.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"img": pa.array(encoded, image_type), "label": pa.array([n % 10 for n in range(count)])})
        (folder / "cifar10").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "cifar10" / f"{split}.parquet")


SMALL = ["--data.train-limit", "4", "--data.validation", "2", "--train.batch-size", "4", "--train.epochs", "1"]
NARROW = ["--model.width", "0.02", "--model.kernels", "reference", "--train.precision", "fp32", "--train.device", "cpu"]


def test_missing_data(refused, monkeypatch, tmp_path):
    words = ["train", "mini-cifar10-vanilla", *SMALL, *NARROW, "--out", tmp_path / "run"]
    missing = tmp_path / "data" / "cifar10" / "train.parquet"
    refused(*words, "--data-dir", tmp_path / "data", says=[missing, "--data-dir"])
    monkeypatch.setenv("SPIKEPROOF_DATA_DIR", str(tmp_path / "data"))
    refused(*words, says=[missing, "SPIKEPROOF_DATA_DIR"])
    assert not (tmp_path / "run").exists()


def test_truncated_data(call, refused, tmp_path):
    write_cifar10(tmp_path / "data")
    words = ["train", "mini-cifar10-vanilla", *SMALL, *NARROW, "--data-dir", tmp_path / "data"]
    assert call(*words, "--out", tmp_path / "whole")[0] == 0  # it is the damage that is refused
    for name in ("train", "test"):
        file = tmp_path / "data" / "cifar10" / f"{name}.parquet"
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        refused(*words, "--out", tmp_path / "run", says=[file, "damaged"])
        refused("audit", tmp_path / "whole", "--data-dir", tmp_path / "data", says=[file, "damaged"])
        file.write_bytes(whole)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.5])
def test_pixels_that_are_none(refused, tmp_path, value):
    x, y = np.random.default_rng(0).random((40, 8, 8)).astype(np.float32), np.arange(40) % 10
    x[7, 3, 3] = value
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=np.zeros((10, 8, 8), np.float32), y_test=y[:10])
    words = ["train", VANILLA, "--data.name", tmp_path / "mine.npz", "--data.validation", "5"]
    refused(*words, "--out", tmp_path / "run", says=["image 7", "x_train", tmp_path / "mine.npz"])
    assert not (tmp_path / "run").exists()
