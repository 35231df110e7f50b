"""Numbers that a caller gave: of the right kind and within their range, or refused in one sentence."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from spikeproof.errors import SpikeproofError

MOST_STEPS = 1_000_000  # of an attack; a slip of the keyboard asks for more
MOST_DRAWS = 100_000  # forwards that are averaged, whose logits are in memory at once
MOST = 2**31 - 1  # what a tensor's dimension, and so a count of images, can always be
_MOST_REAL = 1e12  # beyond it float32 has nothing to say of pixels and logits
LARGEST_SEED = 2**63 - 1
_LARGEST = 1e30  # float32 ends at 3.4e38; here it has room for a product


def whole(value: Any, who: str, name: str, least: int = 1, most: int = MOST_STEPS) -> int:
    """The value as an int, if it is a whole number of this range; True and 8.0 are none.

    Raises:
        SpikeproofError: it is not.

    Example:
        >>> whole(8, "An audit", "samples")
        8
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise SpikeproofError(f"{who} needs {name} >= {least}, a whole number up to {told(most)}, got {told(value)}.")
    return number


def counts(who: str, **values: Any) -> None:
    """Refuse what is no whole number from 1 on, of steps, queries and the like.

    Raises:
        SpikeproofError: by the name of the first.
    """
    for name, value in values.items():
        whole(value, who, name)


def real(value: Any, who: str, name: str, least: float, most: float = _MOST_REAL, *, above: bool = False) -> float:
    """The value as a float, if it is a finite number of this range; True and text are none.

    Args:
        above: whether ``least`` itself is outside.

    Raises:
        SpikeproofError: it is not.

    Example:
        >>> real(1, "SPSA", "delta", 0, above=True)
        1.0
    """
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not (math.isfinite(number) and (number > least if above else number >= least) and number <= most):
        sign = ">" if above else ">="
        raise SpikeproofError(f"{who} needs {name} {sign} {least:g}, a number up to {most:g}, got {told(value)}.")
    return number


def check_seed(value: Any, who: str) -> int:
    """The value as a seed, a whole number of 64 bits.

    Raises:
        SpikeproofError: it is none.
    """
    return whole(value, who, "a seed", -LARGEST_SEED - 1, LARGEST_SEED)


def check_sizes(who: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that float32 cannot count with. Infinities are their owner's to refuse.

    Raises:
        SpikeproofError: one is larger than 1e30, or smaller than -1e30.

    Example:
        >>> check_sizes("Training", {"learning_rate": 0.1, "device": "cpu"})
    """
    for name, value in settings.items():
        if isinstance(value, int | float) and _LARGEST < abs(value) < float("inf"):
            raise SpikeproofError(f"{who} needs {name} of a size up to {_LARGEST:g}, got {told(value)}.")


def told(value: Any) -> str:
    """The value as a sentence quotes it."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no number of so many digits
        return "a number of thousands of digits"
