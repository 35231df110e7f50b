"""`spikeproof watch`: what a finished, a stopped and a living run say, and the curves for TensorBoard."""

import shutil
import threading
import time

import pytest

from spikeproof.runs import RunFolder


@pytest.fixture(scope="module")
def trained(train_words, tmp_path_factory):
    """A run of three short epochs."""
    from spikeproof.cli.main import main

    folder = tmp_path_factory.mktemp("watched") / "run"
    main([str(word) for word in train_words(folder, "--quiet", train__epochs=3, data__train_limit=64)])
    return folder


def epochs_in(text):
    return [line.split("epoch ")[1].split(",")[0] for line in text.splitlines() if "epoch " in line]


def test_a_finished_run_is_told_whole(call, trained):
    code, out, err = call("watch", trained)
    assert (code, err) == (0, "")
    assert epochs_in(out) == ["1/3", "2/3", "3/3"]
    assert out.endswith(f"The run is finished: {trained / 'model.safetensors'}\n")


def test_a_stopped_run_says_how_to_go_on(call, trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "model.safetensors").unlink()
    code, out, _ = call("watch", folder)
    assert code == 0
    assert epochs_in(out) == ["1/3", "2/3", "3/3"]
    command = RunFolder(folder).config()["command"]
    assert f"Nobody trains {folder} now; its own command goes on with it: {command} --resume" in out


def test_a_living_run_is_told_epoch_by_epoch(call, trained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained / "config.json", folder)
    lines = RunFolder(trained).metrics()
    begun = threading.Event()

    def train():
        run = RunFolder(folder)
        with run.lock():
            begun.set()
            for count in (1, 2, 3):
                time.sleep(0.2)
                run.write_metrics(lines[:count])
            shutil.copy(trained / "model.safetensors", folder)

    training = threading.Thread(target=train)
    training.start()
    begun.wait(10)
    code, out, _ = call("watch", folder, "--every", "0.02")
    training.join()
    assert code == 0
    assert epochs_in(out) == ["1/3", "2/3", "3/3"]
    assert "The run is finished" in out


def test_tensorboard_has_each_value_once(call, trained, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        assert call("watch", trained, "--tensorboard", "--out", tmp_path)[0] == 0
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    lines = RunFolder(trained).metrics()
    losses = events.Scalars("loss/all")
    assert [event.step for event in losses] == [1, 2, 3]
    assert [event.value for event in losses] == pytest.approx([line["loss"] for line in lines])
    rates = [name for name in events.Tags()["scalars"] if name.startswith("firing rate/")]
    assert sorted(rates) == sorted(f"firing rate/{name}" for name in lines[-1]["firing_rates"])


def test_what_cannot_be_watched(refused, trained, tmp_path):
    refused("watch", says=["RUN"])
    refused("watch", tmp_path, says=[str(tmp_path)])
    refused("watch", trained, "--every", "0", says=["--every", "above 0"])
