"""How rows, data sets and papers are named on the pages of results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from spikeproof.counts import wilson
from spikeproof.records.result_json import Count, ResultRow
from spikeproof.report.wording import method_name

_DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "tiny_imagenet": "Tiny-ImageNet",
}


def bounds(counts: Sequence[Count]) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of the counts taken together, in percent.

    Counts of several seeds are on the same images, which the interval does not know of.

    Example:
        >>> [round(bound, 2) for bound in bounds([Count(correct=0, samples=100)])]
        [0.0, 3.7]
    """
    low, high = wilson(sum(count.correct for count in counts), sum(count.samples for count in counts))
    return 100 * low, 100 * high


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


def full_label(row: ResultRow) -> str:
    """The row's label with the group that it stands under."""
    return f"{row.label} ({row.group})" if row.group else row.label


def paper_link(source: str) -> str | None:
    """Where a paper can be read of which a source gives the arXiv number.

    Example:
        >>> paper_link("TGO, ICLR 2026, arXiv 2602.20548, main table")
        'https://arxiv.org/abs/2602.20548'
    """
    found = re.search(r"\barXiv[: ]([0-9]{4}\.[0-9]{4,5})\b", source)
    return f"https://arxiv.org/abs/{found[1]}" if found else None


def each_once(words: Iterable[str]) -> str:
    """Each once, in order: a, b, c."""
    return ", ".join(dict.fromkeys(words))
