"""Two networks compared image by image: by how much their accuracies differ, and whether that may be chance."""

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
from spikeproof.report.records import Audit, SavedRun

CLEAN, WORST = "clean", "worst case"


@dataclasses.dataclass(frozen=True)
class Paired:
    """The difference of two rows in one column.

    Attributes:
        column: "clean", a trial, or "worst case".
        difference: accuracy of the first row minus that of the second, in points, averaged over the seeds.
        p: of McNemar's exact test. An image that several seeds share counts as one observation.
    """

    column: str
    difference: float
    p: float


def paired(first: Sequence[SavedRun], second: Sequence[SavedRun]) -> list[Paired]:
    """Compare two rows seed by seed on the images that both were audited on.

    Args:
        first, second: audited runs, one a seed, of the same seeds in the same order; each pair on the same images.

    Returns:
        One difference for the clean images, for each protocol trial that all runs have, and for the worst case; an
        empty list without runs.
    """
    if not first:
        return []
    columns = [CLEAN, *protocol_columns([*first, *second]), WORST]
    above, below = ([_right(run, columns) for run in runs] for runs in (first, second))
    differences = []
    for column in columns:
        right = [(mine[column], theirs[column]) for mine, theirs in zip(above, below, strict=True)]
        if all(mine.keys() == theirs.keys() for mine, theirs in right):
            differences.append(Paired(column, *compared(right)))
    return differences


def paired_table(rows: Mapping[str, Sequence[SavedRun]], over: Sequence[tuple[str, str]]) -> str:
    """A table in Markdown of differences between rows, in points, each with its p corrected for all tests (Holm).

    Args:
        rows: label to audited runs, one a seed.
        over: pairs of labels: the row, and the one that it is compared with.

    Returns:
        "" where no pair has a seed with two audits that can be compared.
    """
    compared_rows = []
    for name, other in over:
        by_seed = [{_seed(run): run for run in rows.get(label, ()) if run.audit is not None} for label in (name, other)]
        seeds = [
            seed for seed, run in by_seed[0].items() if seed in by_seed[1] and _alike(run.audit, by_seed[1][seed].audit)
        ]
        differences = paired(*([runs[seed] for seed in seeds] for runs in by_seed))
        if differences:
            compared_rows.append((name, other, len(seeds), {each.column: each for each in differences}))
    if not compared_rows:
        return ""
    every = [each for *_, differences in compared_rows for each in differences.values()]
    corrected = dict(zip(map(id, every), holm([each.p for each in every]), strict=True))
    columns = list(dict.fromkeys(column for *_, differences in compared_rows for column in differences))
    columns.append(columns.pop(columns.index(WORST)))

    def cell(each: Paired | None) -> str:
        return "" if each is None else f"{signed(each.difference)} ({chance(corrected[id(each)])})"

    lines: list[list[object]] = [
        [name, other, seeds, *(cell(differences.get(column)) for column in columns)]
        for name, other, seeds, differences in compared_rows
    ]
    table = markdown_table(["Row", "Over", "Seeds", *columns], lines, words=["Row", "Over"])
    return markdown("paired.md", table=table, tests=len(every))


def _seed(run: SavedRun) -> object:
    recipe = run.config["recipe"]
    assert isinstance(recipe, Mapping)
    return recipe["train"]["seed"]


def compared(right: Sequence[tuple[Mapping[int, bool], Mapping[int, bool]]]) -> tuple[float, float]:
    """The difference in points and its p, for pairs of networks on the same images.

    Args:
        right: a pair for each seed: for the first and the second network, image -> whether it is right. Both have the
            same images.

    Returns:
        The first's accuracy minus the second's, in points, averaged over the seeds, and the p of McNemar's exact test.

    Example:
        >>> compared([({0: True, 1: True, 2: False}, {0: False, 1: False, 2: False})])
        (66.66666666666667, 0.5)
    """
    balance: Counter[int] = Counter()
    for above, below in right:
        for image, is_right in above.items():
            balance[image] += int(is_right) - int(below[image])
    difference = 100 * balance.total() / (len(balance) * len(right))
    return difference, mcnemar(sum(by > 0 for by in balance.values()), sum(by < 0 for by in balance.values()))


def holm(ps: Sequence[float]) -> list[float]:
    """Correct the p of several tests for their number (Holm 1979).

    Args:
        ps: one for each test, in [0, 1].

    Returns:
        The corrected p, in the same order.

    Example:
        >>> holm([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]
    """
    corrected, least = [0.0] * len(ps), 0.0
    for rank, test in enumerate(sorted(range(len(ps)), key=lambda test: ps[test])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[test]))
        corrected[test] = least
    return corrected


def _alike(above: Audit | None, below: Audit | None) -> bool:
    """Whether two audits have a number each, on the same images under the same threat."""
    if above is None or below is None or above.no_number or below.no_number:
        return False
    return bool(above.images) and (above.images, above.norm, above.eps) == (below.images, below.norm, below.eps)


def _right(run: SavedRun, columns: Sequence[str]) -> dict[str, dict[int, bool]]:
    """By column, for every audited image whether it is right under that trial, or under all for the worst case."""
    assert run.audited is not None and run.audit is not None
    outcomes: pa.Table = read_outcomes(Path(run.audited) / "outcomes.parquet")
    names = ("sample", "trial", "kind", "norm", "eps", "correct")
    right: dict[str, dict[int, bool]] = {column: {} for column in columns}
    for sample, trial, kind, norm, eps, correct in zip(*(outcomes[name].to_pylist() for name in names), strict=True):
        of_the_audit = norm == run.audit.norm and math.isclose(eps, run.audit.eps, rel_tol=1e-9)
        for column, verdicts in right.items():
            if kind == "clean" or (of_the_audit and column in (trial, WORST)):
                verdicts[sample] = verdicts.get(sample, True) and correct
    return right
