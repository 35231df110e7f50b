"""Seed and draw without the caller noticing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

# The generators belong to the whole process, and so do a model's flags: who changes them is alone until they are back.
ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def private_rng() -> Iterator[None]:
    """Put back every generator that ``torch.manual_seed`` touches: the CPU's and each GPU's.

    Other threads that ask for the same wait, so that each draws the numbers of its own seed.

    Example:
        >>> before = torch.get_rng_state()
        >>> with private_rng():
        ...     _ = torch.manual_seed(0)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    with ONE_AT_A_TIME, torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
