"""Threads that fit the machine and the work, in processes that are the command line's own and where nobody chose them.

A parallel loop of PyTorch's ends when its last thread does. On processors that others use too, threads that spin while
they wait take the time from the one that works: a step then takes ten times as long and more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, MutableMapping

from spikeproof.errors import SpikeproofError
from spikeproof.machine.processors import available_processors

# What users name the number of threads by, for all that a process computes.
_NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# At most so many threads, or "auto" for as many as there are processors. Unset: leave threads alone.
_MOST = "SPIKEPROOF_THREADS"
# OpenMP reads these once, when it is loaded. A thread that waits looks 1000 times, for some microseconds, and then
# sleeps: GNU's own number where it knows of more threads than processors. Without a look, waking them costs too much.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
# Forward multiply-accumulates of a step from which another thread gains (docs/performance.md).
_MACS_A_THREAD = 2e9


def prepare(environment: MutableMapping[str, str]) -> None:
    """Have the threads of this process and its children wait without spinning, and their number chosen here.

    Nothing is changed that the user named, nor once PyTorch is loaded: it may be another program's process then, and
    OpenMP has read its settings.

    Args:
        environment: of this process, ``os.environ``.
    """
    if "torch" in sys.modules:
        return
    _wait_passively(environment)
    environment.setdefault(_MOST, "auto")


def _wait_passively(environment: MutableMapping[str, str]) -> None:
    if not any(name in environment for name in _WAITING):
        environment.update(_WAITING)


@contextlib.contextmanager
def passive_children() -> Iterator[None]:
    """Processes that are started in this block wait without spinning, whatever this one does."""
    before = dict(os.environ)
    _wait_passively(os.environ)
    try:
        yield
    finally:
        for name in _WAITING:
            if name not in before:
                os.environ.pop(name, None)


def most_threads() -> int | None:
    """How many threads this process may have at most, or None where their number is not chosen here.

    Raises:
        SpikeproofError: SPIKEPROOF_THREADS is no number of threads.
    """
    asked = os.environ.get(_MOST)
    if asked is None or any(os.environ.get(name) for name in _NAMED):
        return None
    if asked == "auto":
        return available_processors()
    if not (asked.isdecimal() and int(asked) >= 1):
        raise SpikeproofError(f"{_MOST} is a number of threads, 1 or more, or auto, not {asked!r}.")
    return int(asked)


def use_most(share: int | None = None) -> None:
    """Take as many threads as this process may have.

    Args:
        share: of a process that was begun to do one of several jobs: at most so many, from now on.
    """
    import torch

    if share is not None:
        torch.set_num_threads(share)
        os.environ[_MOST] = str(share)
    most = most_threads()
    if most is not None:
        torch.set_num_threads(most)


@contextlib.contextmanager
def fitting_threads(macs: float, begun_with: int | None = None) -> Iterator[None]:
    """In this block, a thread for every 2e9 multiply-accumulates of a step's forward, if the number is chosen here.

    Args:
        macs: of the images of one step.
        begun_with: the threads of a run that goes on. It has them again where there are as many processors, since it
            is bit-identical with the same number only.
    """
    import torch

    most = most_threads()
    if most is None:
        yield
        return
    before = torch.get_num_threads()
    if begun_with is not None and begun_with <= available_processors():
        torch.set_num_threads(begun_with)
    else:
        torch.set_num_threads(int(min(most, max(1.0, macs / _MACS_A_THREAD))))
    try:
        yield
    finally:
        torch.set_num_threads(before)
