"""Two networks on the same images, image by image: how their accuracies differ, and whether chance explains it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from spikeproof.counts import mcnemar
from spikeproof.report.numbers import chance, signed
from spikeproof.report.outcomes_file import read_outcomes
from spikeproof.report.picks import protocol_columns
from spikeproof.report.press import markdown, markdown_table
from spikeproof.report.records import Audit, Run

CLEAN, WORST = "clean", "worst case"


@dataclasses.dataclass(frozen=True)
class Paired:
    """A difference of two rows in one column.

    Attributes:
        column: "clean", a trial, or "worst case".
        difference: accuracy of the first row less the second's, in points, averaged over the seeds.
        p: of McNemar's exact test. An image that several seeds share is one observation, however many networks saw it.
    """

    column: str
    difference: float
    p: float


def paired(first: Sequence[Run], second: Sequence[Run]) -> list[Paired]:
    """Compare two rows seed by seed on the images that both were audited on.

    Args:
        first, second: audited runs, one a seed, of the same seeds in the same order; each pair on the same images.

    Returns:
        One difference for the clean images, for each protocol trial that all runs have and for the worst case; none of
        no runs.
    """
    if not first:
        return []
    columns = [CLEAN, *protocol_columns([*first, *second]), WORST]
    above, below = ([_right(run, columns) for run in runs] for runs in (first, second))
    found = []
    for column in columns:
        right = [(mine[column], theirs[column]) for mine, theirs in zip(above, below, strict=True)]
        if all(mine.keys() == theirs.keys() for mine, theirs in right):
            found.append(Paired(column, *compared(right)))
    return found


def paired_table(rows: Mapping[str, Sequence[Run]], over: Sequence[tuple[str, str]]) -> str:
    """Markdown: what each row has over another, in points, with the p of all tests together (Holm); "" without any.

    Args:
        rows: label to audited runs, one a seed.
        over: pairs of labels, the row and the one that it is compared with.
    """
    found = []
    for name, other in over:
        by_seed = [{_seed(run): run for run in rows.get(label, ()) if run.audit is not None} for label in (name, other)]
        seeds = [
            seed for seed, run in by_seed[0].items() if seed in by_seed[1] and _alike(run.audit, by_seed[1][seed].audit)
        ]
        differences = paired(*([runs[seed] for seed in seeds] for runs in by_seed))
        if differences:
            found.append((name, other, len(seeds), {each.column: each for each in differences}))
    if not found:
        return ""
    every = [each for *_, differences in found for each in differences.values()]
    corrected = dict(zip(map(id, every), holm([each.p for each in every]), strict=True))
    columns = list(dict.fromkeys(column for *_, differences in found for column in differences))
    columns.append(columns.pop(columns.index(WORST)))

    def cell(each: Paired | None) -> str:
        return "" if each is None else f"{signed(each.difference)} ({chance(corrected[id(each)])})"

    lines: list[list[object]] = [
        [name, other, seeds, *(cell(differences.get(column)) for column in columns)]
        for name, other, seeds, differences in found
    ]
    table = markdown_table(["Row", "Over", "Seeds", *columns], lines, words=["Row", "Over"])
    return markdown("paired.md", table=table, tests=len(every))


def _seed(run: Run) -> object:
    recipe = run.config["recipe"]
    assert isinstance(recipe, Mapping)
    return recipe["train"]["seed"]


def compared(right: Sequence[tuple[Mapping[int, bool], Mapping[int, bool]]]) -> tuple[float, float]:
    """Difference in points and p of pairs of networks, given which images each leaves right.

    Args:
        right: a pair for each seed; image -> right or not, of the same images.

    Example:
        >>> compared([({0: True, 1: True, 2: False}, {0: False, 1: False, 2: False})])
        (66.66666666666667, 0.5)
    """
    balance: Counter[int] = Counter()
    for above, below in right:
        for image, held in above.items():
            balance[image] += int(held) - int(below[image])
    difference = 100 * balance.total() / (len(balance) * len(right))
    return difference, mcnemar(sum(by > 0 for by in balance.values()), sum(by < 0 for by in balance.values()))


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of several tests, corrected for their number (Holm 1979), in their order.

    Example:
        >>> holm([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]
    """
    corrected, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected


def _alike(above: Audit | None, below: Audit | None) -> bool:
    """Whether two audits have a number each, and of the same images under the same threat."""
    if above is None or below is None or above.no_number or below.no_number:
        return False
    return bool(above.images) and (above.images, above.norm, above.eps) == (below.images, below.norm, below.eps)


def _right(run: Run, columns: Sequence[str]) -> dict[str, dict[int, bool]]:
    """By column, of every audited image whether it is right: under one trial, or under all."""
    assert run.audited is not None and run.audit is not None
    outcomes: pa.Table = read_outcomes(Path(run.audited) / "outcomes.parquet")
    names = ("sample", "trial", "kind", "norm", "eps", "correct")
    right: dict[str, dict[int, bool]] = {column: {} for column in columns}
    for sample, trial, kind, norm, eps, correct in zip(*(outcomes[name].to_pylist() for name in names), strict=True):
        of_the_audit = norm == run.audit.norm and math.isclose(eps, run.audit.eps, rel_tol=1e-9)
        for column, held in right.items():
            if kind == "clean" or (of_the_audit and column in (trial, WORST)):
                held[sample] = held.get(sample, True) and correct
    return right
