"""Chooses the number of threads by machine and work, in processes that the command line started and nobody chose it.

A parallel loop of PyTorch ends when its last thread does. On processors that others use too, threads that spin while
they wait take time from the thread that works: a step can then take ten times as long and more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, MutableMapping

from spikeproof.errors import SpikeproofError
from spikeproof.machine.processors import available_processors

# By these, users name the number of threads for all that a process computes.
_NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# At most so many threads, or "auto" for as many as there are processors. Unset: leave threads alone.
_MOST = "SPIKEPROOF_THREADS"
# OpenMP reads these once, when it is loaded. A thread that waits looks 1000 times for work, for some microseconds, and
# then sleeps. GNU takes this number itself where it knows of more threads than processors. With no looks at all, waking
# the threads costs too much.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
# Forward multiply-accumulates of a step from which another thread gains (docs/performance.md).
_MACS_A_THREAD = 2e9


def prepare(environment: MutableMapping[str, str]) -> None:
    """Have the threads of this process and its children wait without spinning, and let this module choose their number.

    Nothing is changed that the user has set. Nothing is done where PyTorch is loaded already: the process may then be
    another program's, and OpenMP has read its settings.

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
    """A context: threads of processes that are started in it wait without spinning, whatever those of this one do."""
    before = dict(os.environ)
    _wait_passively(os.environ)
    try:
        yield
    finally:
        for name in _WAITING:
            if name not in before:
                os.environ.pop(name, None)


def most_threads() -> int | None:
    """How many threads this process may have at most; None where their number is not chosen here.

    Raises:
        SpikeproofError: SPIKEPROOF_THREADS is neither "auto" nor a whole number >= 1.
    """
    named = os.environ.get(_MOST)
    if named is None or any(os.environ.get(name) for name in _NAMED):
        return None
    if named == "auto":
        return available_processors()
    if not (named.isdecimal() and int(named) >= 1):
        raise SpikeproofError(f"{_MOST} is a number of threads, 1 or more, or auto, not {named!r}.")
    return int(named)


def use_most(share: int | None = None) -> None:
    """Take as many threads as this process may have.

    Args:
        share: at most so many from now on, for a process that does one of several jobs at a time; None for no limit.
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
    """A context with a thread for every 2e9 multiply-accumulates of a step, where the number is chosen here.

    Args:
        macs: multiply-accumulates of the forward of one step, over all its images.
        begun_with: the threads of a run that goes on; None for a new run. They are taken again where there are as many
            processors, because a run is bit-identical only with the same number.
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
