"""One table as Markdown: ours beside the paper's, the worst case, and which of the paper's claims hold here."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.records.result_json import ResultRow, TableHeader, Verdict
from spikeproof.report.numbers import (
    LEVEL,
    NONE,
    chance,
    over_seeds,
    points,
    published_percent,
    signed,
    significant,
    threat_text,
)
from spikeproof.report.press import Markdown, markdown, markdown_table, plain
from spikeproof.results.lines import SeededRow, lines_of
from spikeproof.results.wording import dataset

_CLAIMS = (
    "What the paper's numbers say, and whether it holds here (p: an exact McNemar test on the same test images, of "
    "these trained networks, not corrected for how many claims there are):"
)


def render_table(header: TableHeader, rows: Sequence[ResultRow]) -> Markdown:
    """A table of results as a page of Markdown, equal byte for byte for equal accuracies.

    So it says nothing of times, dates, devices and versions; those belong to the page of all results.

    Args:
        rows: those that there are, in any order; the seeds of a row become one line, with mean and range.

    Returns:
        Several lines without a line end at the last.
    """
    lines = lines_of(header.order, rows)
    noted = [line.first for line in lines if line.first.data_note]
    fought = [(row.worst.battery, row.eps) for row in (line.first for line in lines) if row.worst is not None]
    return markdown(
        "table.md",
        header=header,
        lines=lines,
        table=_table(header, lines),
        data_notes=dict.fromkeys(f"{dataset(row.dataset)} is {row.data_note}." for row in noted),
        unlike_images=_unlike_images(lines),
        several=any(len(line.seeds) > 1 for line in lines),
        batteries=dict.fromkeys(f"{battery} at {threat_text('linf', eps)}" for battery, eps in fought),
        flags=[f"{line.first.label} ({line.first.row}): {', '.join(line.flags)}" for line in lines if line.flags],
        no_numbers=[f"{line.first.label}: {line.no_number}" for line in lines if line.no_number],
        not_run=_missing(header, lines),
        claims=_CLAIMS,
        verdicts=[f"{verdict.text} ({verdict.column}): {verdict_words(verdict)}" for verdict in header.verdicts],
    )


def _unlike_images(lines: Sequence[SeededRow]) -> list[list[tuple[str, list[str]]]]:
    """Of each data set whose rows were audited on different images, or nobody knows: which rows on which."""
    found: dict[tuple[object, ...], dict[str, list[str]]] = {}
    for line in lines:
        row = line.first
        alike = found.setdefault((row.dataset, row.data_note, row.classes, row.clean.samples), {})
        alike.setdefault(line.images or "unknown images", []).append(row.row)
    return [list(by_images.items()) for by_images in found.values() if len(by_images) > 1]


def _table(header: TableHeader, lines: Sequence[SeededRow]) -> Markdown:
    heads = ["Row", "Seeds", "Steps", *header.columns, "Worst case", "Gap", "n"]
    cells: list[list[object]] = []
    for group in dict.fromkeys(line.first.group for line in lines):
        if group:
            cells.append([Markdown(f"**{plain(group)}**"), *("" for _ in heads[1:])])
        for line in lines:
            if line.first.group == group:
                named = [_cell(line, column) for column in header.columns]
                beginning = [line.first.label, len(line.seeds), line.first.training_steps]
                cells.append([*beginning, *named, line.worst_text(), line.gap_text(), _samples(line)])
    return markdown_table(heads, cells, words=["Row"])


def _cell(line: SeededRow, column: str) -> str:
    """Ours, and the paper's in brackets."""
    cells = [row.cells[column] for row in line.seeds if column in row.cells]
    if not cells:
        return NONE
    counts = [cell.count.percent for cell in cells if cell.count is not None]
    values = [cell.value for cell in cells if cell.value is not None]
    ours = over_seeds(counts, points) if counts else over_seeds(values, significant) if values else NONE
    published = cells[0].published
    if published is None:
        return f"{ours} ({NONE})"
    return f"{ours} ({f'{published:.6g}' if values else published_percent(published)})"


def _samples(line: SeededRow) -> str:
    """Test images of the cells, and those of the worst case where they are fewer."""
    counts = {cell.count.samples for row in line.seeds for cell in row.cells.values() if cell.count is not None}
    cells = sorted(counts or {line.first.clean.samples})
    words = str(cells[0]) if len(cells) == 1 else f"{cells[0]}–{cells[-1]}"
    worst = line.first.worst
    return words if worst is None or [worst.count.samples] == cells else f"{words}, worst {worst.count.samples}"


def _missing(header: TableHeader, lines: Sequence[SeededRow]) -> list[str]:
    there = {line.first.row for line in lines}
    why = {name: header.missing.get(name, "it was not asked for") for name in header.order if name not in there}
    some = {name: f"not every seed; {header.missing[name]}" for name in header.missing if name in there}
    return [f"{name}: {words}" for name, words in (why | some).items()]


def verdict_words(verdict: Verdict) -> str:
    """Whether a claim holds: by the sign of the difference, and undecided where p is not below .05.

    Where a row is not the paper's method at its price, that is said instead.

    Example:
        >>> verdict_words(Verdict(text="A is above B", column="PGD-7", difference=5.2, p=0.03))
        'holds (+5.2 points, p = .03)'
    """
    if verdict.difference is None:
        return "not run"
    words = "holds" if verdict.difference > 0 else "does not hold"
    if verdict.untestable:
        return f"not testable here, since {verdict.untestable} ({signed(verdict.difference)} points)"
    if verdict.p is None:
        sign = "+" if verdict.difference > 0 else ""
        return f"{words} ({sign}{significant(verdict.difference)}, not tested)"
    if verdict.p >= LEVEL:
        words = "undecided"
    return f"{words} ({signed(verdict.difference)} points, {chance(verdict.p)})"
