"""A run that is stopped and resumed ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spikeproof.cli.main import main
from spikeproof.data import Augmentation
from spikeproof.defenses import TGO
from spikeproof.runs import RunFolder
from spikeproof.spiking import sites
from spikeproof.train import Interrupted, epoch, loop, train
from stops import stopped_at

SPIKEPROOF = Path(sys.executable).with_name("spikeproof")


def left_over(folder):
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.name not in (".lock", "config.json", "metrics.jsonl", "model.safetensors", "state.pt")
    )


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("number", "precision"), [(signal.SIGINT, "fp32"), (signal.SIGINT, "bf16"), (signal.SIGTERM, "fp32")]
)
def test_resumed_in_the_middle_of_an_epoch_bit_by_bit(
    new_model,
    few_digits,
    quick,
    all_defenses,
    weights_of,
    metrics_of,
    same_weights,
    tmp_path,
    number,
    precision,
):
    config = quick(batch_size=64, precision=precision, augmentation=Augmentation(crop_padding=1, cutout=2))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    shared = {"data": few_digits, "config": config, "settings": {"mine": 1}, "show": False}
    train(new_model(), defenses=all_defenses(), out=whole, **shared)
    with stopped_at(0.65, number):
        train(new_model(), defenses=all_defenses(), out=halves, **shared)
    assert left_over(halves) == []
    assert not (halves / "model.safetensors").exists()
    # Of 10 in 2 epochs: the step in progress was finished, the second epoch was not.
    assert RunFolder(halves).read_state()["step"] == 8
    assert len(metrics_of(halves)) == 1
    # Another start than the first's, and another global random state: neither may matter.
    torch.manual_seed(4)
    resumed = train(new_model(8), defenses=all_defenses(), out=halves, resume=True, **shared)
    assert same_weights(weights_of(whole), weights_of(halves))
    assert same_weights(weights_of(whole), resumed.model.state_dict())
    assert metrics_of(whole) == metrics_of(halves)
    for folder in (whole, halves):
        assert not (folder / "state.pt").exists()
        assert left_over(folder) == []


def test_stopped_twice_and_in_the_first_and_last_step(
    new_model, few_digits, quick, weights_of, metrics_of, same_weights, tmp_path
):
    shared = {"data": few_digits, "config": quick(), "settings": {"mine": 1}, "show": False}
    train(new_model(), out=tmp_path / "whole", **shared)
    for share, done in ((0.0, 1), (0.5, 11), (0.9, 19)):
        with stopped_at(share):
            train(new_model(), out=tmp_path / "cut", resume=True, **shared)
        assert RunFolder(tmp_path / "cut").read_state()["step"] == done
    # After the very last step the run is whole, but whoever called is not to go on with other work.
    with stopped_at(0.95):
        train(new_model(), out=tmp_path / "cut", resume=True, **shared)
    assert left_over(tmp_path / "cut") == []
    assert not (tmp_path / "cut" / "state.pt").exists()
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")


def test_cut_off_during_validation_after_a_state_within_the_epoch(
    new_model, few_digits, quick, metrics_of, weights_of, same_weights, tmp_path, monkeypatch
):
    """A cut between the last step of an epoch and its line of metrics must not lose the line."""
    shared = {"data": few_digits, "config": quick(), "show": False}
    train(new_model(), out=tmp_path / "whole", **shared)

    def cut(*_arguments, **_options):
        raise KeyboardInterrupt  # a second Ctrl-C, or the power

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_SAVE_EVERY", 0.0)
        patch.setattr(epoch, "judged", cut)
        with pytest.raises(KeyboardInterrupt):
            train(new_model(), out=tmp_path / "cut", **shared)
    train(new_model(), out=tmp_path / "cut", resume=True, **shared)
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")


@pytest.mark.parametrize(("room", "during"), [(epoch, "judged"), (loop, "keep")], ids=["judged", "save"])
def test_asked_to_stop_when_no_step_is_left(
    new_model, few_digits, quick, weights_of, same_weights, tmp_path, monkeypatch, room, during
):
    shared = {"data": few_digits, "config": quick(epochs=1), "show": False}
    whole = train(new_model(), **shared)
    does = getattr(room, during)

    def asked(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return does(*arguments, **options)

    monkeypatch.setattr(room, during, asked)
    with pytest.raises(Interrupted):
        train(new_model(), out=tmp_path, **shared)
    assert same_weights(whole.model.state_dict(), weights_of(tmp_path))


def test_stopped_without_a_folder(new_model, few_digits, quick):
    with stopped_at(0.2):
        train(new_model(), few_digits, config=quick(), show=False)


def test_a_finished_run_returns_at_once_with_the_same_model(new_model, few_digits, quick, same_weights, tmp_path):
    shared = {"data": few_digits, "defenses": [TGO(sigma=0.3)], "config": quick(), "show": False}
    first = train(new_model(), out=tmp_path, **shared)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = train(new_model(8), out=tmp_path, resume=True, **shared)
    assert same_weights(first.model.state_dict(), again.model.state_dict())
    assert again.metrics == first.metrics
    assert again.folder == tmp_path
    assert not again.model.training
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    # The noise belongs to the network as its weights do: an audit with noise on needs it.
    assert [site.noise_std for site in sites(again.model).values()] == [0.3] * 3


def test_resume_starts_where_there_is_nothing(new_model, few_digits, quick, tmp_path):
    run = train(new_model(), few_digits, config=quick(), out=tmp_path / "new" / "run", resume=True, show=False)
    assert len(run.metrics) == 2
    assert (tmp_path / "new" / "run" / "model.safetensors").is_file()


def wait_for_first_epoch(process, folder):
    deadline = time.monotonic() + 90
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def command(folder):
    settings = {"train.epochs": 10, "data.train-limit": 320, "data.validation": 50, "tgo.sigma": 0.3, "train.seed": 3}
    overrides = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return ["train", "demo-digits-tgo", *overrides, "--train.device", "cpu", "--out", str(folder)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "whole"
    main(command(folder))
    return folder


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)])
def test_a_real_process_killed_and_resumed(uninterrupted, weights_of, metrics_of, same_weights, tmp_path, number):
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(
        [SPIKEPROOF, *command(tmp_path / "cut")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        wait_for_first_epoch(process, tmp_path / "cut")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert out == ""
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "spikeproof: stopped; the same command with --resume goes on from this step."
        assert "Traceback" not in err
    else:
        assert process.returncode == -signal.SIGKILL
    main([*command(tmp_path / "cut"), "--resume"])
    assert same_weights(weights_of(uninterrupted), weights_of(tmp_path / "cut"))
    assert metrics_of(uninterrupted) == metrics_of(tmp_path / "cut")
    recorded = [json.loads((folder / "config.json").read_text()) for folder in (uninterrupted, tmp_path / "cut")]
    assert recorded[0]["recipe"] == recorded[1]["recipe"]
    assert recorded[0]["threads"] == recorded[1]["threads"]
