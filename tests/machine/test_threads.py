"""Threads are chosen where the command line owns the process and the user named none, and nowhere else."""

import json
import os
import subprocess
import sys

import pytest
import torch

from spikeproof.errors import SpikeproofError
from spikeproof.machine import threads

CHOICES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "SPIKEPROOF_THREADS",
)
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
TELL = "import json, os, torch; print(json.dumps([dict(os.environ), torch.get_num_threads()]))"


def python(program, **named):
    """What a process that runs ``program`` says of its environment and threads in the end."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | named
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{program}\n{TELL}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    held, count = json.loads(done.stdout.splitlines()[-1])
    return {name: held[name] for name in CHOICES if name in held}, count


MAIN = "from spikeproof.cli.main import main; main(['recipes', 'digits'])"
THREE = "import spikeproof.machine.threads as threads; threads.available_processors = lambda: 3\n"


@pytest.mark.thorough
def test_the_command_line_waits_passively_and_takes_what_is_available():
    assert python(THREE + MAIN) == (PASSIVE | {"SPIKEPROOF_THREADS": "auto"}, 3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_that_the_user_named_stays(name):
    held, count = python(THREE + MAIN, **{name: "2"})
    assert (held[name], count) == ("2", 2)


@pytest.mark.parametrize(
    "name", ["OMP_WAIT_POLICY", *(pytest.param(name, marks=pytest.mark.thorough) for name in list(PASSIVE)[1:])]
)
def test_a_wait_that_the_user_named_stays(name):
    named = {name: "ACTIVE" if name == "OMP_WAIT_POLICY" else "7"}
    assert python(MAIN, **named)[0] == named | {"SPIKEPROOF_THREADS": "auto"}


@pytest.mark.thorough
def test_a_process_that_has_torch_already_is_left_alone():
    assert python("import torch; torch.set_num_threads(2)\n" + THREE + MAIN) == ({}, 2)
    assert python("import torch; torch.set_num_threads(2)\nimport spikeproof as sp; sp.train") == ({}, 2)
    assert python("import spikeproof as sp; sp.train")[0] == {}


@pytest.mark.thorough
def test_children_wait_passively(monkeypatch):
    for name in PASSIVE:
        monkeypatch.delenv(name, raising=False)
    with threads.passive_children():
        told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True).stdout
    assert json.loads(told)[0].items() >= PASSIVE.items()
    assert not PASSIVE.keys() & os.environ.keys()


@pytest.fixture
def chosen(monkeypatch):
    """This process's threads are to be chosen, of eight processors."""
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPIKEPROOF_THREADS", "auto")
    monkeypatch.setattr(threads, "available_processors", lambda: 8)
    before = torch.get_num_threads()
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("macs", "expected"), [(0.0, 1), (1e6, 1), (3.9e9, 1), (4e9, 2), (11e9, 5), (1e12, 8), (float("inf"), 8)]
)
def test_a_thread_for_every_two_billion(chosen, macs, expected):
    before = torch.get_num_threads()
    with threads.fitting_threads(macs):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("begun_with", "expected"), [(4, 4), (8, 8), (9, 1)])
def test_a_run_that_goes_on_has_the_threads_that_it_began_with(chosen, begun_with, expected):
    with threads.fitting_threads(1e6, begun_with):
        assert torch.get_num_threads() == expected


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_nothing_fits_what_the_user_named(chosen, name):
    chosen.setenv(name, "1")
    torch.set_num_threads(3)
    with threads.fitting_threads(1e6, 2):
        assert torch.get_num_threads() == 3


def test_nothing_fits_where_nobody_asked(chosen):
    chosen.delenv("SPIKEPROOF_THREADS")
    torch.set_num_threads(3)
    with threads.fitting_threads(1e6, 2):
        assert torch.get_num_threads() == 3


def test_a_share_is_the_most_from_then_on(chosen):
    threads.use_most(3)
    assert torch.get_num_threads() == 3
    with threads.fitting_threads(1e12):
        assert torch.get_num_threads() == 3
    with threads.fitting_threads(4e9):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1.5", ""])
def test_no_number_of_threads(chosen, asked):
    chosen.setenv("SPIKEPROOF_THREADS", asked)
    with pytest.raises(SpikeproofError, match="SPIKEPROOF_THREADS is a number of threads, 1 or more, or auto, not"):
        threads.use_most()


def test_threads_that_end_a_block_by_an_exception(chosen):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stopped"), threads.fitting_threads(1e12):
        raise ValueError("stopped")
    assert torch.get_num_threads() == before
