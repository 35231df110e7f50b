"""Seed and draw without the caller noticing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def private_rng() -> Iterator[None]:
    """Put back every generator that ``torch.manual_seed`` touches: the CPU's and each GPU's.

    Example:
        >>> before = torch.get_rng_state()
        >>> with private_rng():
        ...     _ = torch.manual_seed(0)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
