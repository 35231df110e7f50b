"""How numbers are written, on every page and in the terminal alike: percentages, intervals, radii, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from spikeproof.report.records import Measured

NONE = "–"
NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1"}
# The level of significance: differences with p below it are called more than chance.
LEVEL = 0.05


def points(value: float) -> str:
    """A percentage, or a difference of two, with one decimal and without "%": 47.26 -> 47.3; NaN -> undefined."""
    return "undefined" if math.isnan(value) else f"{round(value, 1) + 0.0:.1f}"


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a percentage with one decimal: 0.862 -> 86.2."""
    return points(100 * fraction)


def interval(measured: Measured) -> str:
    """The 95 % interval in percent: 82.9–88.9."""
    return f"{percent(measured.low)}–{percent(measured.high)}"


def share(value: float) -> str:
    """A fraction with two decimals: 0.862 -> 0.86; NaN -> undefined."""
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference with one decimal and its sign: +5.2, -3.0, 0.0."""
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"


def significant(value: float) -> str:
    """A number with three significant digits; with an exponent only below 1e-4 and from 1e6 on.

    Example:
        >>> significant(0.12), significant(1234.0), significant(0.09996), significant(3.2e-7)
        ('0.120', '1230', '0.100', '3.20e-07')
    """
    rounded = float(f"{value:.3g}") + 0.0
    if rounded == 0:
        return "0"
    if not 1e-4 <= abs(rounded) < 1e6:
        return f"{rounded:.2e}"
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def over_seeds(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The mean of one value a seed, and the range where there are several: 47.2, 46.8–47.6.

    Args:
        values: one or more.
        write: how one value is written, such as ``percent``.
    """
    mean = write(fmean(values))
    return mean if len(values) == 1 else f"{mean}, {value_range(values, write)}"


def value_range(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The smallest and the largest value, each written by ``write``: 46.8–47.6."""
    return f"{write(min(values))}–{write(max(values))}"


def bracketed(low: float, high: float) -> str:
    """An interval whose bounds are percentages already: [82.9, 88.9]."""
    return f"[{points(low)}, {points(high)}]"


def published_percent(value: float) -> str:
    """A percentage as a paper printed it, with one decimal or more: 47.0, 47.63."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.6g}"


def eps_text(norm: str, eps: float) -> str:
    """A radius: in 255ths for L-infinity (8/255), a plain number otherwise (0.5).

    Args:
        norm: "linf", "l2" or another norm.
        eps: for pixels in [0, 1].
    """
    if norm != "linf":
        return f"{eps:.3g}"
    levels = 255 * eps
    whole = round(levels)
    return f"{whole}/255" if abs(levels - whole) < 0.02 else f"{levels:.3g}/255"


def threat_text(norm: str, eps: float) -> str:
    """The norm and the radius: L∞ 8/255, L2 0.5. Arguments as of ``eps_text``."""
    return f"{NORMS.get(norm, norm)} {eps_text(norm, eps)}"


def chance(p: float) -> str:
    """A p-value with two digits, or with as many as it takes to see on which side of ``LEVEL`` it lies.

    Example:
        >>> chance(0.0304), chance(0.0496), chance(0.0504), chance(1e-6)
        ('p = .03', 'p = .0496', 'p = .05', 'p < .0001')
    """
    if p < 1e-4:
        return "p < .0001"
    written = (float(f"{p:.{digits}g}") for digits in range(2, 18))
    rounded = next(each for each in written if (each < LEVEL) == (p < LEVEL))
    return f"p = {f'{rounded:.6f}'.strip('0')}" if rounded < 1 else "p = 1"


def time(seconds: float) -> str:
    """A duration in the unit that fits: 36 s, 12 min, 1.3 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[object]) -> str:
    """One or more names as a list in a sentence: a, b and c."""
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
