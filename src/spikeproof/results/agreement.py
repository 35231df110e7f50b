"""What no single file can say: whether rows agree with their table and with their other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.records.result_json import ResultRow, TableHeader

MEND = "correct the file, or write it again with `spikeproof reproduce`"


def check_table(header: TableHeader, rows: Mapping[Path, ResultRow]) -> None:
    """Refuse rows that are not of the header's table, or whose seeds tell of different settings.

    Args:
        header: of the table.
        rows: by their files.

    Raises:
        SpikeproofError: the first contradiction, by file and field.
    """
    for path, row in rows.items():
        for label in row.cells:
            if label not in header.columns:
                raise _wrong(path, f"cells.{label}", "a column that the table.json beside it names")
    first: dict[str, tuple[Path, dict[str, object]]] = {}
    images: dict[str, tuple[Path, str]] = {}  # of the seeds of which they are known
    for path, row in rows.items():
        if row.images:
            known, same = images.setdefault(row.row, (path, row.images))
            if row.images != same:
                raise _wrong(path, "images", f"as in {known.name}, another seed of the same row")
        setting = _setting(row)
        before, other = first.setdefault(row.row, (path, setting))
        for field, value in setting.items():
            if value != other[field]:
                raise _wrong(path, field, f"as in {before.name}, another seed of the same row")


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


def _wrong(path: Path, field: str, expected: str) -> SpikeproofError:
    return SpikeproofError(f"{path}: {field!r} should be {expected}; {MEND}.")
