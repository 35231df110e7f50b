"""The card: front matter that the hub's own reader takes, and what people must know before they believe a number."""

import json

import pytest
from huggingface_hub import ModelCard
from shared_run import read_one, write_config

from spikeproof.data import load_data
from spikeproof.defenses import MPDSGR
from spikeproof.hub import model_card
from spikeproof.hub.private_words import without_paths
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train


def card_of(folder, **options):
    return ModelCard(model_card(read_one(folder), **options))


def test_front_matter(audited, tmp_path):
    card = card_of(audited, license="cc-by-4.0")
    card.save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.license) == ("spikeproof", "cc-by-4.0")
    assert {"spiking-neural-network", "adversarial-robustness", "digits"} <= set(data.tags)
    clean, worst = data.eval_results
    audit = read_one(audited).audit
    assert clean.metric_value == pytest.approx(100 * audit.trials[0].own.accuracy, abs=0.01)
    assert worst.metric_value == pytest.approx(100 * audit.worst_case.accuracy, abs=0.01)
    assert worst.metric_args == {"norm": "linf", "eps": 0.1, "battery": "custom", "samples": 40}
    assert (worst.dataset_name, worst.dataset_split, worst.task_type) == (
        "digits (at most 256 training images)",
        "test",
        "image-classification",
    )


def test_no_license_is_made_up(trained):
    assert "license" not in card_of(trained).data.to_dict()


def test_what_an_audit_found_and_does_not_prove(audited):
    text = card_of(audited, source="hub:someone/robust").text
    audit = read_one(audited).audit
    for piece in (
        "Protocol: `PGD-2`",
        "Worst case",
        f"{100 * audit.worst_case.low:.1f}–{100 * audit.worst_case.high:.1f}",
        "L∞ 25.5/255",
        "n = 40",
        "battery custom",
        "`SA-PGD-3@ASSG`",
        "Masking gap",
        "unchecked",
        "No check looked for red flags",
        "upper bound",
        "`conv`, width 1",
        "`Direct()`",
        "AT (eps 0.1",
        "epochs 1, batch size 64",
        "seed 0",
        'load_model("hub:someone/robust")',
        "[N, 1, 8, 8]",
        "command lines",
    ):
        assert piece in text, piece
    assert "Not audited" not in text


def test_no_audit_is_said_first_and_where_the_limits_are(trained):
    card = card_of(trained)
    assert card.text.count("Not audited: nothing is known about its robustness.") == 2
    assert "Worst case" not in card.text
    assert card.data.eval_results is None
    assert card.data.metrics is None


def test_the_precision_that_ran(trained):
    config = json.loads((trained / "config.json").read_text())
    config["recipe"]["train"]["precision"] = "auto"
    for ran in ("bf16", "fp32"):
        write_config(trained, config | {"precision": ran})
        assert f", precision {ran}, " in card_of(trained).text
    del config["precision"]  # from before it was recorded
    config["recipe"]["train"]["precision"] = "bf16"
    write_config(trained, config)
    assert ", precision bf16, " in card_of(trained).text


def test_parts_of_a_public_set_and_what_its_files_are(audited):
    config = json.loads((audited / "config.json").read_text())
    config["recipe"]["data"] |= {"name": "cifar10", "classes": [0, 3], "train_limit": 500}
    write_config(audited, config)
    (audited / "facts.json").write_text('{"data_note": "JPEG-recompressed"}')
    card = card_of(audited)
    assert card.data.datasets == ["uoft-cs/cifar10"]
    assert card.data.eval_results[0].dataset_name == "cifar10 (only the classes 0, 3, at most 500 training images)"
    assert "differed from the published ones: JPEG-recompressed." in card.text


def test_a_run_that_was_started_from_python(tmp_path):
    data = load_data("digits", validation=50, train_limit=64)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    config = TrainConfig(epochs=1, augmentation=None, device="cpu", precision="fp32")
    train(model, data, [MPDSGR(eta=0.3)], config, out=tmp_path / "run", show=False)
    text = card_of(tmp_path / "run").text
    for piece in ("MPD-SGR (", "eta=0.3", "epochs 1", "data that the run does not name"):
        assert piece in text


@pytest.mark.parametrize("data", ["mine", ["a", "b"], {"name": 5}, {}, None], ids=str)
def test_a_recipe_that_says_something_else_of_its_data(trained, data):
    config = json.loads((trained / "config.json").read_text())
    config["recipe"] |= {"data": data, "train": data, "defenses": data}
    write_config(trained, config)
    assert "data that the run does not name" in card_of(trained).text


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("8/255 and/or 3 / 4 of 1/2", None),
        ("https://example.org/a/b and hub:a/b", None),
        ("[N, 1, 8, 8] in [0, 1]", None),
        ("name: /a/b/c.npz", "name: c.npz"),
        ("(~/data/x) or path=/y/z, '/a b/", "(x) or path=z, 'a b/"),
        ("from C:\\Users\\me\\x.npz", "from x.npz"),
        ("two:/a/b:/c/d", "two:b:d"),
        ("see file:///home/u/x or sqlite:////home/u/y.db now", "see x or y.db now"),
        ("a|/home/u/x and </home/u/y> and z;/home/u/z", "a|x and <y> and z;z"),
        ("a=b,/home/u/x {/home/u/y} @/home/u/z", "a=b,x {y} @z"),
        ("at ~bob/x and ~/y/z", "at x and z"),
        ("on \\\\server\\share\\x.npz or //server/share/y.npz", "on x.npz or y.npz"),
        ("file:///C:/Users/me/x and --out=/home/u/y", "x and --out=y"),
        ("ssh://me@host/a, https://host/~me/b?q=/c/d#/e and s3://bucket/c", None),
        ("about ~5 and ~half of a//b, x/y/z, ../a/b and ./a/b", None),
        ("0.5/2 (3)/4 [1]/2 1e-3/2 a_/b ~3/4 5 %/epoch L∞/8", None),
    ],
)
def test_absolute_paths_are_shortened_and_nothing_else(text, shared):
    assert without_paths(text) == (text if shared is None else shared)
