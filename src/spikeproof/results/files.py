"""Result files: ``<table>-<scale>/<row>-s<seed>.json`` for a row with a seed, ``table.json`` for what rows share."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays
from spikeproof.results.agreement import check_header, check_row, check_table
from spikeproof.results.conform import MEND, conform
from spikeproof.results.records import SCHEMA, Count, ResultRow, TableHeader
from spikeproof.results.schema import row_schema
from spikeproof.results.wording import bounds

_HEADER = "table.json"
_WITH_FORMER_NAMES = 1
Record = TypeVar("Record", ResultRow, TableHeader)


def write_row(row: ResultRow, folder: Path) -> Path:
    """Write a row below ``folder``, in place of an older one; equal rows give equal bytes.

    Returns:
        The file.

    Raises:
        SpikeproofError: the row is one that could not be read again.
    """
    return _write(row, folder)


def write_header(header: TableHeader, folder: Path) -> Path:
    """Write what the rows of a table share below ``folder``, as :func:`write_row` does.

    Returns:
        The file.

    Raises:
        SpikeproofError: the header is one that could not be read again.
    """
    return _write(header, folder)


def read_results(folder: Path) -> list[tuple[TableHeader, list[ResultRow]]]:
    """All tables below ``folder`` by name, each with its rows in the table's order and by seed.

    Files that are not JSON, and files beside the tables' folders, are let be.

    Raises:
        SpikeproofError: the first thing that is not as it should be, by file and field.
    """
    return [(header, list(rows.values())) for header, rows in map(_read_table, _tables(folder))]


def check_results(paths: Sequence[Path]) -> str:
    """Read result files as strictly as the leaderboard does, and say how many there are.

    Args:
        paths: folders of tables, folders of one table, or single rows' files, which are checked without their table.

    Returns:
        Such as "12 rows in 2 tables are valid."

    Raises:
        SpikeproofError: the first thing that is not as it should be, by file and field; or there is no row.
    """
    rows: dict[Path, ResultRow] = {}
    for path in paths:
        if path.is_file() and path.name != _HEADER:
            rows[path.resolve()] = _read(path, ResultRow)
            continue
        folder = path.parent if path.is_file() else path
        for table in [folder] if _is_table(folder) else _tables(folder):
            rows |= {file.resolve(): row for file, row in _read_table(table)[1].items()}
    if not rows:
        raise SpikeproofError(f"There is no result in {', '.join(map(str, paths))}; give folders of result files.")
    tables = {(row.table, row.scale) for row in rows.values()}
    said = [f"{len(held)} {word}{'s' * (len(held) > 1)}" for held, word in ((rows, "row"), (tables, "table"))]
    return f"{said[0]} in {said[1]} {'are' if len(rows) > 1 else 'is'} valid."


def _tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SpikeproofError(f"{folder} is not a folder of results; give the one that `spikeproof reproduce` wrote.")
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "." and _json_files(path))


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.name[0] != ".")


def _is_table(folder: Path) -> bool:
    return any(path.name == _HEADER or re.search(r"-s[0-9]+\.json$", path.name) for path in _json_files(folder))


def _read_table(folder: Path) -> tuple[TableHeader, dict[Path, ResultRow]]:
    """The header and the rows by their files, in the table's order and by seed; rows that it lacks come last."""
    files = [path for path in _json_files(folder) if path.name != _HEADER]
    if not (folder / _HEADER).is_file():
        raise SpikeproofError(f"{folder} has rows but no {_HEADER}; put the one beside them that belongs to the table.")
    header = _read(folder / _HEADER, TableHeader)
    places = {name: place for place, name in enumerate(header.order)}
    read = [(path, _read(path, ResultRow)) for path in files]
    read.sort(key=lambda pair: (places.get(pair[1].row, len(places)), pair[1].row, pair[1].seed))
    rows = dict(read)
    check_table(header, rows)
    return header, rows


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpikeproofError(f"{path} cannot be read ({error}); {MEND}.") from None
    try:
        raw = json.loads(text, object_pairs_hook=lambda pairs: _without_repetition(pairs, path))
    except (ValueError, RecursionError) as error:
        raise SpikeproofError(f"{path} is not valid JSON ({error}); {MEND}.") from None
    if isinstance(raw, dict) and type(raw.get("schema")) is int and raw["schema"] == _WITH_FORMER_NAMES:
        raw = todays(raw) | {"schema": SCHEMA}
    record = _record(raw, kind, str(path))
    if (path.parent.name, path.name) != _place(record):
        folder, name = _place(record)
        raise SpikeproofError(f"{path} should be {folder}/{name} by what it says of its table; {MEND}.")
    return record


def _place(record: ResultRow | TableHeader) -> tuple[str, str]:
    """The names of the folder and of the file that a record lies in."""
    name = _HEADER if isinstance(record, TableHeader) else f"{record.row}-s{record.seed}.json"
    return f"{record.table}-{record.scale}", name


def _without_repetition(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise SpikeproofError(f"{path}: the field {ascii(twice)} stands there twice; {MEND}.")
    return held


def _record(raw: object, kind: type[Record], where: str) -> Record:
    root = row_schema()
    conform(raw, root if kind is ResultRow else root["$defs"][kind.__name__], root, where)
    record = typing.cast(Record, _build(kind, raw))
    if isinstance(record, ResultRow):
        check_row(record, where)
    else:
        check_header(record, where)
    _check_intervals(raw, where)
    return record


def _check_intervals(raw: Any, where: str, field: str = "") -> None:
    """Nothing, if every interval is the one of its count."""
    if isinstance(raw, dict):
        if "interval" in raw:
            right = _interval(Count(correct=raw["correct"], samples=raw["samples"]))
            if raw["interval"] != right:
                said = f"{right} for {raw['correct']} of {raw['samples']}, or left out"
                raise SpikeproofError(f"{where}: {f'{field}interval'!r} should be {said}; {MEND}.")
        for name, held in raw.items():
            _check_intervals(held, where, f"{field}{name}.")


def _interval(count: Count) -> list[float]:
    return [round(bound, 2) for bound in bounds([count])]


def _build(hint: Any, value: Any) -> Any:
    """A checked JSON value as the type that a record's field has."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return None if value is None else _build(parts[0], value)
    if typing.get_origin(hint) is tuple:
        return tuple(_build(parts[0], item) for item in value)
    if typing.get_origin(hint) is dict:
        return {name: _build(parts[1], item) for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        # What a file leaves out has a default: conform has seen to it.
        held = {name: _build(kind, value[name]) for name, kind in hints.items() if name in value}
        return typing.cast(Any, hint)(**held)
    return float(value) + 0.0 if hint is float else value  # -0.0 is 0.0, and its bytes are then too


def _write(record: Record, folder: Path) -> Path:
    kind = type(record)
    where = f"{'The row' if kind is ResultRow else 'The header'} {' of '.join(reversed(_place(record)))}"
    same = _record(_plain(record), kind, where)  # 1 becomes 1.0 where the field is a float
    text = json.dumps(_plain(same), indent=2, ensure_ascii=False) + "\n"
    path = folder.joinpath(*_place(same))
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))
    return path


def _plain(value: Any) -> Any:
    """As JSON: fields in their order, names in a mapping sorted; a count with its interval."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Count) and 0 <= value.correct <= value.samples > 0:  # else reading refuses it
            fields["interval"] = _interval(value)
        return fields
    if isinstance(value, dict):
        return {name: _plain(value[name]) for name in sorted(value)}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
