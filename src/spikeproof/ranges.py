"""Numbers in their ranges: what no machine can count, or no generator can be seeded with, is said at the door."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from spikeproof.errors import SpikeproofError

# What a tensor's dimension, and so a count of images, can always be.
MOST = 2**31 - 1
_SEEDS = 2**63
# float32 ends at 3.4e38; here it has room for a product.
_LARGEST = 1e30


def check_whole(owner: str, name: str, value: Any, least: int, most: int = MOST) -> None:
    """Refuse what is no whole number of this range.

    Args:
        owner: who wants it, as the sentence begins: "Training", "A model".

    Raises:
        SpikeproofError: it is none.

    Example:
        >>> check_whole("Training", "epochs", 3, 1)
    """
    if not _is_whole(value):
        raise SpikeproofError(f"{owner} needs a whole number of {name}, got {value!r:.80}.")
    if value < least:
        raise SpikeproofError(f"{owner} needs {name} >= {least}, got {_told(value)}.")
    if value > most:
        raise SpikeproofError(f"{owner} needs {name} <= {most}, got {_told(value)}.")


def check_seed(owner: str, value: Any) -> None:
    """Refuse what a generator of random numbers cannot begin with.

    Raises:
        SpikeproofError: no whole number of 64 bits.

    Example:
        >>> check_seed("Training", -1)
    """
    if not (_is_whole(value) and -_SEEDS <= value < _SEEDS):
        told = _told(value) if _is_whole(value) else f"{value!r:.80}"
        raise SpikeproofError(f"{owner} needs a seed that is a whole number of 64 bits, got {told}.")


def check_sizes(owner: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that float32 cannot count with. Infinities are their owner's to refuse.

    Raises:
        SpikeproofError: one is larger than 1e30, or smaller than -1e30.

    Example:
        >>> check_sizes("Training", {"learning_rate": 0.1, "device": "cpu"})
    """
    for name, value in settings.items():
        if isinstance(value, int | float) and _LARGEST < abs(value) < float("inf"):
            told = f"{value:g}" if isinstance(value, float) else _told(value)
            raise SpikeproofError(f"{owner} needs {name} of a size up to {_LARGEST:g}, got {told}.")


def _is_whole(value: Any) -> bool:
    """NumPy's whole numbers are some too."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _told(value: int) -> str:
    bits = int(value).bit_length()
    return str(value) if bits < 256 else f"one of {bits} bits"
