"""Result files: ``<table>-<scale>/<row>-s<seed>.json`` for a row with a seed, ``table.json`` for what rows share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.records.reading import as_record, parsed, read_text
from spikeproof.records.result_json import ResultRow, TableHeader, row_schema
from spikeproof.results.agreement import MEND, check_table
from spikeproof.results.submissions import read_submissions

_HEADER = "table.json"
_Record = TypeVar("_Record", ResultRow, TableHeader)


def write_row(row: ResultRow, folder: Path) -> Path:
    """Write a row below ``folder``, in place of an older one; equal rows give equal bytes.

    Args:
        folder: of all tables.

    Returns:
        The file.

    Raises:
        SpikeproofError: the row is one that could not be read again.
    """
    return _write(row, folder)


def write_header(header: TableHeader, folder: Path) -> Path:
    """Write what the rows of a table share below ``folder``, as :func:`write_row` does.

    Args:
        folder: of all tables.

    Returns:
        The file.

    Raises:
        SpikeproofError: the header is one that could not be read again.
    """
    return _write(header, folder)


def write_schema(path: Path) -> None:
    """Write what a result file may hold as a JSON Schema.

    Args:
        path: the file.
    """
    _write_json(row_schema(), path)


def read_results(folder: Path) -> list[tuple[TableHeader, list[ResultRow]]]:
    """All tables below ``folder`` by name, each with its rows in the table's order and by seed.

    Args:
        folder: of all tables.

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
        Such as "12 rows in 2 tables are valid.", with the submissions that a folder of tables has.

    Raises:
        SpikeproofError: the first thing that is not as it should be, by file and field; or there is no row.
    """
    rows: dict[Path, ResultRow] = {}
    submissions = 0
    for path in paths:
        if path.is_file() and path.name != _HEADER:
            rows[path.resolve()] = _read(path, ResultRow)
            continue
        folder = path.parent if path.is_file() else path
        for table in [folder] if _is_table(folder) else _tables(folder):
            rows |= {file.resolve(): row for file, row in _read_table(table)[1].items()}
        submissions += len(read_submissions(folder))
    if not rows and not submissions:
        raise SpikeproofError(f"There is no result in {', '.join(map(str, paths))}; give folders of result files.")
    tables = {(row.table, row.scale) for row in rows.values()}
    said = [
        f"{number} {word}{'s' * (number > 1)}"
        for number, word in ((len(rows), "row"), (len(tables), "table"), (submissions, "submission"))
    ]
    parts = [*([f"{said[0]} in {said[1]}"] if rows else []), *([said[2]] if submissions else [])]
    return f"{' and '.join(parts)} {'are' if len(rows) + submissions > 1 else 'is'} valid."


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


def _read(path: Path, kind: type[_Record]) -> _Record:
    record = as_record(kind, parsed(read_text(path, MEND), str(path), MEND), str(path), MEND)
    folder, name = record.place
    if (path.parent.name, path.name) != (folder, name):
        raise SpikeproofError(f"{path} should be {folder}/{name} by what it says of its table; {MEND}.")
    return record


def _write(record: _Record, folder: Path) -> Path:
    kind = type(record)
    where = f"{'The row' if kind is ResultRow else 'The header'} {' of '.join(reversed(record.place))}"
    same = as_record(kind, record.plain(), where, MEND)  # one that was copied with changes has not been looked at
    path = folder.joinpath(*same.place)
    _write_json(same.plain(), path)
    return path


def _write_json(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))
