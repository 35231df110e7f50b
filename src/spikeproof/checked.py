"""Checks of numbers that a caller gave: of the right kind and in their range, or refused in one sentence.

In all functions ``who`` is the subject of that sentence, such as "An audit".
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from spikeproof.errors import SpikeproofError

MOST_STEPS = 1_000_000  # of an attack; more is a typing error
MOST_DRAWS = 100_000  # forwards that are averaged, whose logits are in memory at once
MOST = 2**31 - 1  # up to this a tensor's dimension, and so a count of images, always works
_MOST_REAL = 1e12  # beyond this, float32 cannot resolve pixels and logits
LARGEST_SEED = 2**63 - 1
_LARGEST = 1e30  # float32 ends at 3.4e38; here it has room for a product


def whole(value: Any, who: str, name: str, least: int = 1, most: int = MOST_STEPS) -> int:
    """The value as an int, if it is a whole number in [least, most]; True and 8.0 are not.

    Args:
        value: what the caller gave, also a NumPy integer.
        who: see above.
        name: what the message calls the value.
        least, most: the range, both ends included.

    Raises:
        SpikeproofError: it is not such a number.

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
    """Refuse counts of steps, queries and the like that are not whole numbers >= 1.

    Args:
        who: see above.
        values: the counts by the names that the message has for them.

    Raises:
        SpikeproofError: one is not. The message names the first.
    """
    for name, value in values.items():
        whole(value, who, name)


def real(value: Any, who: str, name: str, least: float, most: float = _MOST_REAL, *, above: bool = False) -> float:
    """The value as a float, if it is a finite number in [least, most]; True and text are not.

    Args:
        value: what the caller gave, also a NumPy number or a tensor of one value.
        who: see above.
        name: what the message calls the value.
        least, most: the range, both ends included.
        above: True leaves out ``least`` itself.

    Raises:
        SpikeproofError: it is not such a number.

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
    """The value as a seed: a whole number in [-2^63, 2^63).

    Args:
        value: what the caller gave.
        who: see above.

    Raises:
        SpikeproofError: it is no such number.
    """
    return whole(value, who, "a seed", -LARGEST_SEED - 1, LARGEST_SEED)


def check_sizes(who: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that are too large for float32. Infinities pass: whoever owns the settings checks these.

    Args:
        who: see above.
        settings: values by name; only numbers are looked at.

    Raises:
        SpikeproofError: one is above 1e30 or below -1e30.

    Example:
        >>> check_sizes("Training", {"learning_rate": 0.1, "device": "cpu"})
    """
    for name, value in settings.items():
        if isinstance(value, int | float) and _LARGEST < abs(value) < float("inf"):
            raise SpikeproofError(f"{who} needs {name} of a size up to {_LARGEST:g}, got {told(value)}.")


def told(value: Any) -> str:
    """The value as messages quote it: its ``repr``, of at most 80 letters."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python refuses to write so many digits
        return "a number of thousands of digits"
