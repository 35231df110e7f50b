"""An audit over several processes, as torchrun starts them, says what one process says."""

import itertools
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeproof.audit import Shard, audit
from spikeproof.audit.parts import Parts


@pytest.fixture
def together():
    """The environment of each of two processes that find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [shared | {"RANK": rank} for rank in "01"]


def without_seconds(value):
    if isinstance(value, dict):
        return {name: without_seconds(inner) for name, inner in value.items() if name != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.thorough
def test_two_processes_say_what_one_says(tiny, digits, quick, told, start, together, tmp_path):
    trials = ("R+FGSM", "PGD-2", "SA-PGD-3@ASSG", "SQUARE-10", "CW-2", "LOCAL-20", "APGD-ON-2@ASSG")
    config = quick(trials=trials, batch_size=9, sweep=(0.05,), step_sweep=(1,), sweep_samples=10)
    started = [
        start(tiny, digits.test, config, parts=str(tmp_path / "parts"), **environment) for environment in together
    ]
    alone = audit(tiny, digits.test, config, show=False)
    assert [process.wait(120) for process, _ in started] == [0, 0], [
        path.read_text() for path in sorted(tmp_path.glob("said-*"))
    ]
    for _, file in started:
        found = torch.load(file, weights_only=False)
        assert found["rows"] == alone.outcomes.to_pylist()
        assert without_seconds(found["json"]) == told(alone)
        assert all(np.array_equal(found["pictures"][name], alone.pictures[name]) for name in alone.pictures)
    assert not [path for path in (tmp_path / "parts").rglob("*") if path.is_file()]


@pytest.mark.sweep
def test_shares_are_apart_and_cover_everything(tiny, digits, quick, attacked, monkeypatch, tmp_path):
    """Each process attacks only its batches and points; what one left can be finished by one process alone."""
    config = quick(trials=("FGSM", "SA-PGD-2@ASSG"), batch_size=9)
    undisturbed = audit(tiny, digits.test, config, show=False)
    everything = list(attacked)

    class Gone(Exception):
        pass

    def gone(*_):
        raise Gone

    shares = []
    for rank in range(2):
        attacked.clear()
        with monkeypatch.context() as patch, pytest.raises(Gone):
            patch.setenv("RANK", str(rank))
            patch.setenv("WORLD_SIZE", "2")
            patch.setattr(Shard, "of_the_first", lambda _, own: own)
            patch.setattr(Shard, "merge", gone)
            audit(tiny, digits.test, config, parts=tmp_path, show=False)
        shares.append(list(attacked))
    assert all(shares)
    assert sorted(shares[0] + shares[1]) == sorted(everything)
    attacked.clear()
    found = audit(tiny, digits.test, config, parts=tmp_path, show=False)
    assert not attacked
    assert found.outcomes.equals(undisturbed.outcomes)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_each_job_is_one_processs(world):
    shards = [Shard(rank, world) for rank in range(world)]
    assert all(sum(shard.owns(job) for shard in shards) == 1 for job in range(20))
    shares = [sum(shard.owns(job) for job in range(20)) for shard in shards]
    assert max(shares) - min(shares) <= 1


def test_a_process_learns_its_place_from_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Shard.of_this_process() == Shard(0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert Shard.of_this_process() == Shard(3, 8)


def test_alone_nothing_is_gathered():
    own = {"a": 1}
    assert Shard().merge(own) is own
    assert not torch.distributed.is_initialized()


def test_two_processes_may_clear_up_at_once(tmp_path, monkeypatch):
    """Each forgets the parts when the audit is whole; whatever the other was faster with is no error."""
    folder = tmp_path / "held"
    for name in "abc":
        Parts(folder).put(name, {"samples": np.arange(2)})
    unlink, turns = Path.unlink, itertools.count()

    def slower(path, missing_ok=False):
        if next(turns) == 1:
            unlink(path, missing_ok=True)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", slower)
    Parts(folder).forget()
    assert not folder.exists()
