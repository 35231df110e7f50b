"""Every random number of a run follows from its seed and from what it is for."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, index: int, part: int = 0) -> int:
    """Derive a seed for one purpose at one step.

    Args:
        seed: of the run.
        purpose: such as "noise" or "order"; each has numbers of its own.
        index: of the step or epoch.
        part: of the step, such as its part of the batch or its replay.

    Returns:
        A number in [0, 2^63).

    Example:
        >>> derive(0, "noise", 3) == derive(0, "noise", 3), derive(0, "noise", 3) == derive(0, "order", 3)
        (True, False)
    """
    named = f"{seed}/{purpose}/{index}" + (f"/{part}" if part else "")
    digest = hashlib.blake2b(named.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator that starts from ``derive(seed, purpose, index)``."""
    return torch.Generator().manual_seed(derive(seed, purpose, index))
