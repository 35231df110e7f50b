"""What no single field can say: whether a row agrees with itself, with its table and with its other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.results.conform import MEND
from spikeproof.results.records import Count, ResultRow, TableHeader


def check_row(row: ResultRow, where: str) -> None:
    """Nothing, if no number of the row contradicts another.

    Raises:
        SpikeproofError: the first contradiction, by file and field.
    """
    counts: dict[str, Count] = {"clean": row.clean, "protocol": row.protocol}
    for label, cell in row.cells.items():
        if cell.count is not None:
            counts[f"cells.{label}.count"] = cell.count
            if cell.value is not None:
                raise _wrong(where, f"cells.{label}", "a count or a value, not both")
            if cell.published is not None and not 0 <= cell.published <= 100:
                raise _wrong(where, f"cells.{label}.published", f"a percentage as the count is, not {cell.published:g}")
    if row.worst is not None:
        counts |= {"worst.count": row.worst.count, "worst.protocol": row.worst.protocol}
    for field, count in counts.items():
        if count.correct > count.samples:
            raise _wrong(where, f"{field}.correct", f"at most the {count.samples} samples, not {count.correct}")
    if row.worst is None:
        return
    worst, protocol = row.worst.count, row.worst.protocol
    if worst.samples > row.clean.samples:
        raise _wrong(where, "worst.count.samples", f"at most clean's {row.clean.samples}, not {worst.samples}")
    if protocol.samples != worst.samples:
        raise _wrong(where, "worst.protocol.samples", f"the worst case's {worst.samples}, not {protocol.samples}")
    if worst.correct > protocol.correct:
        raise _wrong(where, "worst.count.correct", f"at most the protocol {protocol.correct}, not {worst.correct}")


def check_header(header: TableHeader, where: str) -> None:
    """Nothing, if the header names only columns and rows that it has.

    Raises:
        SpikeproofError: the first contradiction, by file and field.
    """
    for name in header.missing:
        if name not in header.order:
            raise _wrong(where, f"missing.{name}", "a row that 'order' names")
    for i, verdict in enumerate(header.verdicts):
        if verdict.column not in header.columns:
            raise _wrong(where, f"verdicts[{i}].column", f"a column of the table, not {verdict.column!r}")
        if verdict.difference is None and verdict.p is not None:
            raise _wrong(where, f"verdicts[{i}].p", "null, as there is no difference")


def check_table(header: TableHeader, rows: Mapping[Path, ResultRow]) -> None:
    """Nothing, if the rows are of the header's table and the seeds of a row tell of one and the same setting.

    Raises:
        SpikeproofError: the first contradiction, by file and field.
    """
    for path, row in rows.items():
        for label in row.cells:
            if label not in header.columns:
                raise _wrong(str(path), f"cells.{label}", "a column that the table.json beside it names")
    first: dict[str, tuple[Path, dict[str, object]]] = {}
    images: dict[str, tuple[Path, str]] = {}  # of the seeds of which they are known
    for path, row in rows.items():
        if row.images:
            known, same = images.setdefault(row.row, (path, row.images))
            if row.images != same:
                raise _wrong(str(path), "images", f"as in {known.name}, another seed of the same row")
        setting = _setting(row)
        before, other = first.setdefault(row.row, (path, setting))
        for field, value in setting.items():
            if value != other[field]:
                raise _wrong(str(path), field, f"as in {before.name}, another seed of the same row")


def _setting(row: ResultRow) -> dict[str, object]:
    """What the seeds of a row share, so that one line may stand for them."""
    names = (
        *("label", "group", "dataset", "data_note", "classes", "train_images", "network", "width", "num_steps"),
        *("coding", "defenses", "eps", "protocol_attack"),
    )
    shared: dict[str, object] = {name: getattr(row, name) for name in names}
    shared["clean.samples"] = row.clean.samples
    shared["worst.battery"] = None if row.worst is None else row.worst.battery
    shared["worst.count.samples"] = None if row.worst is None else row.worst.count.samples
    shared["cells"] = {
        label: (cell.published, cell.count is None, cell.value is None) for label, cell in row.cells.items()
    }
    return shared


def _wrong(where: str, field: str, expected: str) -> SpikeproofError:
    return SpikeproofError(f"{where}: {field!r} should be {expected}; {MEND}.")
