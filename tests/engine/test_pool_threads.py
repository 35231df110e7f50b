"""Processes side by side share the processors that are available, and wait without spinning."""

import json
import os

import pytest
import torch

from spikeproof.engine import make_pool, pools
from spikeproof.errors import SpikeproofError
from spikeproof.machine.threads import most_threads

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


class Told:
    """In the place of a task's circumstances: fails with what its process has."""

    @property
    def store(self):
        waiting = {name: os.environ.get(name) for name in PASSIVE}
        raise SpikeproofError(json.dumps([torch.get_num_threads(), most_threads(), waiting]))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("held", "available", "slots", "named", "expected"),
    [
        (8, 4, 2, None, [2, 2, PASSIVE]),
        (8, 1, 2, None, [1, 1, PASSIVE]),
        (3, 8, 1, None, [3, 3, PASSIVE]),
        (8, 8, 2, "8", [4, None, PASSIVE]),  # the user's eight are shared, and nothing else is chosen
    ],
)
def test_each_child_has_its_share(monkeypatch, tmp_path, held, available, slots, named, expected):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SPIKEPROOF_THREADS", *PASSIVE):
        monkeypatch.delenv(name, raising=False)
    if named is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", named)
    monkeypatch.setattr(pools, "available_processors", lambda: available)
    before = torch.get_num_threads()
    torch.set_num_threads(held)
    pool = pools.ChildProcesses(slots)
    try:
        pool.start(None, Told())
        outcome = pool.wait()
    finally:
        pool.stop()
        torch.set_num_threads(before)
    assert (outcome.status, json.loads(outcome.why)) == ("failed", expected)
    assert not PASSIVE.keys() & os.environ.keys()


def test_the_command_lines_jobs_are_such_processes(tmp_path):
    assert isinstance(make_pool(None, 2, tmp_path, {}), pools.ChildProcesses)
