"""How numbers and strangers' words are written on the pages of results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from statistics import fmean

from spikeproof.counts import wilson
from spikeproof.report import method_name
from spikeproof.results.records import Count, ResultRow

NONE = "–"
_DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "tiny_imagenet": "Tiny-ImageNet",
}


def percent(value: float) -> str:
    """With one decimal: 47.26 -> 47.3."""
    return f"{round(value, 1) + 0.0:.1f}"


def significant(value: float) -> str:
    """With three significant digits, without an exponent where the number can be read without: 1234 -> 1230.

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


def published_percent(value: float) -> str:
    """As the paper printed it, with one decimal at least: 47.0, 47.63."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.6g}"


def over_seeds(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The mean, and the range where there are several: 47.2, 46.8–47.6."""
    mean = write(fmean(values))
    return mean if len(values) == 1 else f"{mean}, {value_range(values, write)}"


def value_range(values: Sequence[float], write: Callable[[float], str]) -> str:
    return f"{write(min(values))}–{write(max(values))}"


def bounds(counts: Sequence[Count]) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of the counts taken together, in percent.

    Counts of several seeds are on the same images, which the interval does not know of.

    Example:
        >>> [round(bound, 2) for bound in bounds([Count(correct=0, samples=100)])]
        [0.0, 3.7]
    """
    low, high = wilson(sum(count.correct for count in counts), sum(count.samples for count in counts))
    return 100 * low, 100 * high


def interval(counts: Sequence[Count]) -> str:
    """Its two bounds: [82.9, 88.9]."""
    low, high = bounds(counts)
    return f"[{percent(low)}, {percent(high)}]"


def time(seconds: float) -> str:
    """36 s, 12 min, 1.3 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def eps(value: float) -> str:
    """In grey levels where it is a whole number of them: L∞ 8/255."""
    levels = 255 * value
    return f"L∞ {round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"L∞ {value:.3g}"


def dataset(name: str) -> str:
    """As papers write it."""
    return _DATASETS.get(name, name)


def network(row: ResultRow) -> str:
    """vgg11, width 0.125, T = 4; with the coding where it is not direct."""
    parts = [row.network, *([] if row.width == 1 else [f"width {row.width:g}"]), f"T = {row.num_steps}"]
    return ", ".join([*parts, *([] if row.coding == "Direct()" else [row.coding])])


def methods(row: ResultRow) -> str:
    """What was done to the network, as people call it: AT + SR; AT with REG is RAT.

    Every defense is written as Python would make it, ``SR(strength=0.001)``, and its class says what it is.
    """
    names = [method_name(defense.partition("(")[0]) for defense in row.defenses]
    if "AT" in names and "REG" in names:
        names = ["RAT", *(name for name in names if name not in ("AT", "REG"))]
    return " + ".join(names) or "no defense"


def paper_link(source: str) -> str | None:
    """Where a paper can be read of which a source gives the arXiv number.

    Example:
        >>> paper_link("TGO, ICLR 2026, arXiv 2602.20548, main table")
        'https://arxiv.org/abs/2602.20548'
    """
    found = re.search(r"\barXiv[: ]([0-9]{4}\.[0-9]{4,5})\b", source)
    return f"https://arxiv.org/abs/{found[1]}" if found else None


def listed(words: Sequence[str]) -> str:
    """Each once, in order: a, b, c."""
    return ", ".join(dict.fromkeys(words))


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too.

    Example:
        >>> print(plain("SR* | <b> a_b"))
        SR\\* \\| \\<b\\> a\\_b
    """
    return re.sub(r"([\\`*_\[\]<>|~&$#])", r"\\\1", text)


def code(text: str) -> str:
    """Text as code in Markdown, outside of tables."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"
