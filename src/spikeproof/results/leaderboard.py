"""Who keeps most in the worst case: rows of all tables side by side, but only where they can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spikeproof.records.result_json import SCALES, ResultRow, TableHeader
from spikeproof.report.numbers import NONE, over_seeds, points, significant, threat_text
from spikeproof.report.press import Markdown, markdown_table, plain
from spikeproof.results.lines import SeededRow, lines_of
from spikeproof.results.wording import dataset, methods, network, paper_link


@dataclasses.dataclass(frozen=True)
class Place:
    """A line with its rank; lines of the same worst case share one.

    Attributes:
        name: the methods, such as "AT + SR"; where two lines of a board would share a name, with what the table says.
        source: of the table that the line stands in.
    """

    rank: int
    line: SeededRow
    name: str
    source: str


@dataclasses.dataclass(frozen=True)
class Board:
    """Lines of one setting, the best worst case first."""

    setting: str
    places: tuple[Place, ...]


def boards(tables: Sequence[tuple[TableHeader, Sequence[ResultRow]]]) -> list[Board]:
    """A leaderboard for whatever can be compared: the same data and images, radius, battery and scale.

    Args:
        tables: headers with their rows.

    Full scale comes first. A line without a worst case has no place: see :func:`unranked`. Networks that several tables
    share have one.
    """
    found: dict[tuple[object, ...], dict[tuple[object, ...], tuple[SeededRow, str]]] = {}
    for header, rows in tables:
        for line in lines_of(header.order, rows):
            row = line.first
            if row.worst is not None and line.worsts:
                key = (
                    *(-SCALES.index(row.scale), row.dataset, row.data_note, row.classes, row.eps),
                    *(row.worst.battery, row.worst.count.samples, row.crafting_precision, line.images),
                )
                found.setdefault(key, {}).setdefault(_network(line), (line, header.source))
    every = [list(lines.values()) for _, lines in sorted(found.items(), key=lambda pair: pair[0])]
    return [Board(_setting(lines[0][0]), _ranked(lines)) for lines in every]


def unranked(tables: Sequence[tuple[TableHeader, Sequence[ResultRow]]]) -> list[SeededRow]:
    """The lines on which no battery was run, and those of which an audit has no number.

    Args:
        tables: headers with their rows.
    """
    return [line for header, rows in tables for line in lines_of(header.order, rows) if not line.worsts]


def board_table(board: Board) -> Markdown:
    """The rows of the board as a table of Markdown."""
    words = ["Row", "Table", "Network", "Device"]
    numbers = ["Clean", "Protocol", "Worst case", "Gap", "Operations (M)", "Seeds"]
    cells: list[list[object]] = []
    for place in board.places:
        line, row = place.line, place.line.first
        clean, protocol = (over_seeds(line.percents(of), points) for of in ("clean", "protocol"))
        named = [place.rank, place.name, _table(place), network(row), clean, f"{protocol} ({row.protocol_attack})"]
        cells.append([*named, line.worst_text(), line.gap_text(), millions(line), len(line.seeds), line.devices])
    return markdown_table(["Rank", *words[:3], *numbers, "Device"], cells, words)


def millions(line: SeededRow) -> str:
    """Synaptic operations of an image in millions."""
    operations = line.operations()
    return NONE if operations is None else significant(operations / 1e6)


def _table(place: Place) -> Markdown:
    """The table, with the paper that it is of behind it where that can be read."""
    row, link = place.line.first, paper_link(place.source)
    return Markdown(f"{plain(f'{row.table} ({row.scale})')}{f' [paper]({link})' if link else ''}")


def _network(line: SeededRow) -> tuple[object, ...]:
    """What tells that two lines are of the same networks."""
    return tuple((row.recipe_hash, row.seed) for row in line.seeds)


def _ranked(lines: Sequence[tuple[SeededRow, str]]) -> tuple[Place, ...]:
    ordered = sorted(lines, key=lambda pair: -pair[0].worst)
    worsts, rows = [line.worst for line, _ in ordered], [line.first for line, _ in ordered]
    return tuple(Place(worsts.index(line.worst) + 1, line, _name(line.first, rows), source) for line, source in ordered)


def _name(row: ResultRow, rows: Sequence[ResultRow]) -> str:
    """The methods; where others on such a network have the same, with that in which their tables tell them apart."""
    alike = [each for each in rows if (methods(each), network(each)) == (methods(row), network(row))]
    told = [name for name in ("label", "group", "table") if len({getattr(each, name) for each in alike}) > 1]
    apart = ", ".join(getattr(row, name) for name in told)
    return f"{methods(row)} ({apart})" if apart else methods(row)


def _setting(line: SeededRow) -> str:
    row = line.first
    note = f" ({row.data_note})" if row.data_note else ""
    worst = row.worst
    judged = "" if worst is None else f", battery {worst.battery} on {worst.count.samples} test images"
    judged += f" ({line.images[:8]})" if line.images else ""
    return (
        f"{dataset(row.dataset)}{note}, {row.classes} classes, {threat_text('linf', row.eps)}, scale {row.scale}"
        f"{judged}, crafted in {row.crafting_precision}"
    )
