"""One run over two processes is the run of one process, and the files of one."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes_in_one import COMPARED, compared

from spikeproof.attacks import judge
from spikeproof.data import load_data
from spikeproof.defenses import DEFENSES
from spikeproof.models import load_model
from spikeproof.runs import Processes, RunFolder, SharedBatch
from spikeproof.spiking import sites
from spikeproof.spiking.joined import joined
from spikeproof.train import train
from stops import stopped_at

SCRIPT = Path(__file__).with_name("processes_in_one.py")
# What these take of a batch, or share over it, is more than sites record.
REFUSED = {name for name, kind in DEFENSES.items() if kind().whole_batch} | {"mpd-sgr by attack", "tgo by attack"}


@pytest.fixture(scope="module")
def two(tmp_path_factory, kernels_of_the_session):
    """What each of two processes found, and the folder of their runs."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    started = []
    try:
        for rank in "01":
            with (folder / f"said-{rank}").open("w") as said:
                environment = shared | {"RANK": rank}
                started.append(
                    subprocess.Popen([sys.executable, SCRIPT, folder], env=environment, stderr=said, stdout=said)
                )
        codes = [process.wait(600) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0, 0], [(folder / f"said-{rank}").read_text()[-2000:] for rank in "01"]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in "01"], folder


@pytest.fixture(scope="module")
def alone():
    return compared(Processes())


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMPARED)
def test_a_step_of_two_processes_is_that_of_one(two, alone, same_weights, name):
    (first, second), _ = two
    weights, line = alone[name]
    for found in (first, second):
        found_weights, found_line = found["compared"][name]
        for key, value in weights.items():
            exact = value.dtype != torch.float32
            tolerance = {"rtol": 1e-9, "atol": 1e-11} if exact else {"rtol": 1e-4, "atol": 1e-5}
            torch.testing.assert_close(
                found_weights[key], value, **tolerance, msg=lambda text, key=key: f"{key}: {text}"
            )
        assert found_line["loss"] == pytest.approx(line["loss"], rel=1e-6)
        assert found_line["penalties"] == pytest.approx(line["penalties"], rel=1e-5)
        assert found_line["train_accuracy"] == line["train_accuracy"]
    assert same_weights(first["compared"][name][0], second["compared"][name][0])


@pytest.mark.thorough
def test_both_processes_hold_the_same_weights_whatever_the_defense(two, same_weights):
    (first, second), _ = two
    assert first["every"].keys() == DEFENSES.keys() | REFUSED
    for name, weights in first["every"].items():
        if name not in REFUSED:
            assert same_weights(weights, second["every"][name]), name
            assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_defense_that_needs_the_whole_batch_is_refused(two, name):
    for found in two[0]:
        assert re.fullmatch(
            r"[\w-]+ needs the whole batch in one place .* train it with one process\.", found["every"][name]
        )


@pytest.mark.thorough
def test_a_stopped_run_goes_on_bit_for_bit(two, same_weights, weights_of, metrics_of):
    """The second process was asked to stop, in the step 5 of 8; both did, after it."""
    (first, second), folder = two
    for found in (first, second):
        step, files = found["folders"]["stopped"]
        assert step == 6
        assert files == [".lock", "config.json", "metrics.jsonl", "state.pt"]
        for name in ("whole", "cut", "finished"):
            assert same_weights(found["folders"][name][0], weights_of(folder / "whole"))
        lines = found["folders"]["whole"][1]
        assert len(lines) == 2
        assert [without_seconds(line) for line in lines] == metrics_of(folder / "whole")
    assert same_weights(weights_of(folder / "whole"), weights_of(folder / "cut"))
    assert metrics_of(folder / "whole") == metrics_of(folder / "cut")


def without_seconds(line):
    return {name: value for name, value in line.items() if name != "seconds"}


@pytest.mark.thorough
def test_the_first_process_alone_writes_and_tells(two):
    _, folder = two
    for name in ("whole", "cut"):
        files = sorted(path.name for path in (folder / name).iterdir())
        assert files == [".lock", "config.json", "metrics.jsonl", "model.safetensors"]
    assert json.loads((folder / "whole" / "config.json").read_text())["recipe"] == {"mine": 1}
    assert (folder / "said-0").read_text().count("epoch 2/2") == 1
    # torch itself may say what it found on the machine, as "[rank1]:W1129 ...".
    assert [line for line in (folder / "said-1").read_text().splitlines() if not line.startswith("[rank1]:")] == []


@pytest.mark.thorough
def test_validation_counts_every_image_once(two, metrics_of):
    """300 images are two batches, one for each process."""
    _, folder = two
    images, labels = next(load_data("digits", validation=300, train_limit=36).validation.batches(300))
    right = judge(load_model(folder / "whole" / "model.safetensors"), images).argmax(1) == labels
    last = metrics_of(folder / "whole")[-1]
    assert last["validation_accuracy"] == right.double().mean().item()
    assert list(last["firing_rates"]) == ["body.0", "body.2", "body.5"]
    assert all(0 <= rate <= 1 for rate in last["firing_rates"].values())


@pytest.mark.thorough
def test_refusals_are_everyones(two):
    (first, second), _ = two
    diverged, few, last = first["refusals"]
    assert first["refusals"] == second["refusals"]
    assert first["folders"]["refused"] == second["folders"]["refused"]
    assert "already holds a run" in first["folders"]["refused"]
    assert diverged.startswith("The loss ")
    assert "a batch has 1 images, fewer than the 2 processes" in few
    assert "the last part of a batch has 1 images" in last


def test_a_run_of_two_processes_is_not_resumed_by_one(new_model, few_digits, quick, refuses, tmp_path):
    with stopped_at(0.2):
        train(new_model(), few_digits, [], quick(), out=tmp_path, settings={}, show=False)
    run = RunFolder(tmp_path)
    run.write_state(run.read_state() | {"others": [{"sums": {}, "memory": {}}]})
    with refuses(tmp_path, "2 processes", "not 1"):
        train(new_model(), few_digits, [], quick(), out=tmp_path, settings={}, resume=True, show=False)


def test_a_network_is_apart_again_after_an_exception(new_model):
    model = new_model(batch_norm="per-step")
    before = [dict(vars(module)) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), joined(model, SharedBatch(0, (5, 4))):
        assert all(site.across is not None for site in sites(model).values())
        raise ZeroDivisionError
    assert [dict(vars(module)) for module in model.modules()] == before


@pytest.mark.parametrize(
    ("environment", "piece"),
    [
        ({"RANK": "one", "WORLD_SIZE": "2"}, "'one'"),
        ({"RANK": "0", "WORLD_SIZE": "-2"}, "'-2'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "ranks begin at 0"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT"),
    ],
    ids=str,
)
def test_an_environment_that_makes_no_sense(new_model, few_digits, quick, refuses, monkeypatch, environment, piece):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with refuses(piece, "torchrun", "unset"):
        train(new_model(), few_digits, config=quick(), show=False)


def test_each_process_has_a_gpu_of_its_own(refuses, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Processes(1, 2).device(torch.device("cuda")) == torch.device("cuda", 1)
    assert Processes(1, 2).device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with refuses("has 1, none for LOCAL_RANK 1", "--nproc-per-node 1"):
        Processes(1, 2).device(torch.device("cuda"))


def test_shares_cover_a_batch():
    images = torch.arange(11)
    for world in (1, 2, 3, 8):
        processes = [Processes(rank, world) for rank in range(world)]
        slices = [each.slice(images) for each in processes]
        assert torch.equal(torch.cat(slices), images)
        assert tuple(map(len, slices)) == processes[0].share(11)


def test_counts_are_of_the_whole_batch():
    assert SharedBatch(0, (5, 4)).count(5 * 64) == SharedBatch(1, (5, 4)).count(4 * 64) == 9 * 64
