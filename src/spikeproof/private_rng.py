"""Seed and draw without a change of the caller's random numbers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

# Generators and a model's flags belong to the whole process, so one thread at a time changes them and puts them back.
ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def private_rng() -> Iterator[None]:
    """A context that puts back every generator that ``torch.manual_seed`` sets: the CPU's and each GPU's.

    Other threads wait before such a context, so that each draws the numbers of its own seed.

    Example:
        >>> before = torch.get_rng_state()
        >>> with private_rng():
        ...     _ = torch.manual_seed(0)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    with ONE_AT_A_TIME, torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
