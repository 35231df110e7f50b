"""Every random number of a run follows from its seed and from what it is for."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, index: int, part: int = 0) -> int:
    """A seed of its own for a purpose, the step (or epoch) of this index, and a part of it.

    Example:
        >>> derive(0, "noise", 3) == derive(0, "noise", 3), derive(0, "noise", 3) == derive(0, "order", 3)
        (True, False)
    """
    named = f"{seed}/{purpose}/{index}" + (f"/{part}" if part else "")
    digest = hashlib.blake2b(named.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """A generator of the CPU that begins at such a seed."""
    return torch.Generator().manual_seed(derive(seed, purpose, index))
