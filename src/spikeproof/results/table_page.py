"""One table as Markdown: ours beside the paper's, the worst case, and which of the paper's claims hold here."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.report.wording import LEVEL, chance, signed
from spikeproof.results.lines import Line, lines_of
from spikeproof.results.records import ResultRow, TableHeader, Verdict
from spikeproof.results.wording import (
    NONE,
    dataset,
    eps,
    listed,
    over_seeds,
    percent,
    plain,
    published_percent,
    significant,
)

_CLAIMS = (
    "What the paper's numbers say, and whether it holds here (p: an exact McNemar test on the same test images, of "
    "these trained networks, not corrected for how many claims there are):"
)


def render_table(header: TableHeader, rows: Sequence[ResultRow]) -> str:
    """A table of results as a page of Markdown, equal byte for byte for equal accuracies.

    So it says nothing of times, dates, devices and versions; those belong to the page of all results.

    Args:
        rows: those that there are, in any order; the seeds of a row become one line, with mean and range.

    Returns:
        Several lines without a line end at the last.
    """
    lines = lines_of(header.order, rows)
    parts = [f"## {plain(header.title)}", f"Source: {plain(header.source)}", *_data_notes(lines), *_image_notes(lines)]
    if lines:
        parts += [_table(header, lines), _legend(lines)]
    for title, points in (
        ("Raised red flags (the worst case may be too high):", _flags(lines)),
        ("No number:", [f"{plain(line.first.label)}: {plain(line.no_number)}" for line in lines if line.no_number]),
        ("Not run:", _missing(header, lines)),
        ("Chosen here, since no paper states it:", [plain(choice) for choice in header.choices]),
        (_CLAIMS, [_verdict(each) for each in header.verdicts]),
    ):
        if points:
            parts.append("\n".join([title, "", *(f"- {point}" for point in points)]))
    return "\n\n".join([*parts, *([f"Note: {plain(header.note)}"] if header.note else [])])


def _data_notes(lines: Sequence[Line]) -> list[str]:
    notes = [f"{dataset(line.first.dataset)} is {line.first.data_note}." for line in lines if line.first.data_note]
    return [f"Data: {plain(' '.join(dict.fromkeys(notes)))}"] if notes else []


def _image_notes(lines: Sequence[Line]) -> list[str]:
    """A warning where rows of one data set were audited on different images, or nobody knows."""
    found: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        row = line.first
        found.setdefault((row.dataset, row.data_note, row.classes, row.clean.samples), []).append(line)
    notes = []
    for alike in found.values():
        by_images: dict[str, list[str]] = {}
        for line in alike:
            by_images.setdefault(line.images or "unknown images", []).append(line.first.row)
        if len(by_images) > 1:
            told = "; ".join(f"{images}: {listed(names)}" for images, names in by_images.items())
            notes.append(f"Not all rows are known to be of the same images ({told}): compare only those that are.")
    return [plain(note) for note in notes]


def _table(header: TableHeader, lines: Sequence[Line]) -> str:
    heads = ["Row", "Seeds", "Steps", *map(plain, header.columns), "Worst case", "Gap", "n"]
    cells = [heads, ["---", *("--:" for _ in heads[1:])]]
    for group in dict.fromkeys(line.first.group for line in lines):
        if group:
            cells.append([f"**{plain(group)}**", *("" for _ in heads[1:])])
        for line in lines:
            if line.first.group == group:
                named = [_cell(line, column) for column in header.columns]
                ending = [line.worst_text(), line.gap_text(), _samples(line)]
                beginning = [plain(line.first.label), str(len(line.seeds)), str(line.first.training_steps)]
                cells.append([*beginning, *named, *ending])
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cell(line: Line, column: str) -> str:
    """Ours, and the paper's in brackets."""
    cells = [row.cells[column] for row in line.seeds if column in row.cells]
    if not cells:
        return NONE
    counts = [cell.count.percent for cell in cells if cell.count is not None]
    values = [cell.value for cell in cells if cell.value is not None]
    ours = over_seeds(counts, percent) if counts else over_seeds(values, significant) if values else NONE
    published = cells[0].published
    if published is None:
        return f"{ours} ({NONE})"
    return f"{ours} ({f'{published:.6g}' if values else published_percent(published)})"


def _samples(line: Line) -> str:
    """Test images of the cells, and those of the worst case where they are fewer."""
    counts = {cell.count.samples for row in line.seeds for cell in row.cells.values() if cell.count is not None}
    cells = sorted(counts or {line.first.clean.samples})
    words = str(cells[0]) if len(cells) == 1 else f"{cells[0]}–{cells[-1]}"
    worst = line.first.worst
    return words if worst is None or [worst.count.samples] == cells else f"{words}, worst {worst.count.samples}"


def _legend(lines: Sequence[Line]) -> str:
    text = "Accuracy in percent: ours (the paper's)."
    if any(len(line.seeds) > 1 for line in lines):
        text += " Where there are several seeds: mean, range."
    batteries = [
        f"{line.first.worst.battery} at {eps(line.first.eps)}" for line in lines if line.first.worst is not None
    ]
    if batteries:
        text += (
            f" Worst case: right under every attack of the battery {plain(listed(batteries))}, with its 95 % interval "
            "(Wilson; of all seeds together). Gap: the battery's protocol accuracy less the worst case, in points."
        )
    return f"{text} Steps: of the optimiser. n: test images."


def _flags(lines: Sequence[Line]) -> list[str]:
    return [plain(f"{line.first.label} ({line.first.row}): {', '.join(line.flags)}") for line in lines if line.flags]


def _missing(header: TableHeader, lines: Sequence[Line]) -> list[str]:
    there = {line.first.row for line in lines}
    why = {name: header.missing.get(name, "it was not asked for") for name in header.order if name not in there}
    some = {name: f"not every seed; {header.missing[name]}" for name in header.missing if name in there}
    return [plain(f"{name}: {words}") for name, words in (why | some).items()]


def _verdict(verdict: Verdict) -> str:
    return f"{plain(f'{verdict.text} ({verdict.column})')}: {verdict_words(verdict)}"


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
