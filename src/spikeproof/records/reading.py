"""From a JSON file to a record, or to a sentence that says which file is wrong, in what, and how to mend it.

In all functions ``mend`` is the end of that sentence, without a full stop: what to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from spikeproof.disk import unsealed
from spikeproof.errors import SpikeproofError
from spikeproof.records.record import FileRecord, in_one_sentence

_Kind = TypeVar("_Kind", bound=FileRecord)


def read_text(path: Path, mend: str) -> str:
    """Read a file of UTF-8 text.

    Args:
        path: the file.
        mend: what to do where it cannot be read.

    Raises:
        SpikeproofError: it is missing, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpikeproofError(f"{path} is missing; {mend}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpikeproofError(f"{path} cannot be read ({error}); {mend}.") from None


def parsed(text: str, where: str, mend: str) -> Any:
    """Parse JSON; NaN and Infinity are allowed.

    Args:
        text: the JSON.
        where: what messages call its place, such as the file.
        mend: what to do where it is wrong.

    Raises:
        SpikeproofError: it is not JSON, or an object has a field twice.
    """
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _without_repetition(pairs, where, mend))
    except SpikeproofError:
        raise
    except (ValueError, RecursionError) as error:
        raise SpikeproofError(f"{where} is not valid JSON ({error}); {mend}.") from None


def _without_repetition(pairs: list[tuple[str, Any]], where: str, mend: str) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SpikeproofError(f"{where} has the field {twice!r} twice; {mend}.")
    return fields


def as_record(kind: type[_Kind], value: object, where: str, mend: str) -> _Kind:
    """Make a record of a JSON value.

    Args:
        kind: which record it should be.
        value: what ``parsed`` gave.
        where: what messages call its place, such as the file.
        mend: what to do where it is wrong.

    Raises:
        SpikeproofError: it is no such record. The message says where, and names the first wrong field.
    """
    with in_one_sentence(where, mend):
        return kind.model_validate(value)


def sealed_value(text: str, where: str, mend: str) -> Any:
    """Parse JSON and check the checksum of an object that has one.

    Args:
        text: the JSON.
        where: what messages call its place, such as the file.
        mend: what to do where it is wrong.

    Returns:
        The value; an object without its checksum.

    Raises:
        SpikeproofError: it is not JSON, or the checksum does not fit.
    """
    value = parsed(text, where, mend)
    return unsealed(value, where, mend) if isinstance(value, dict) else value


def sealed_lines(path: Path, mend: str) -> list[tuple[str, Any]]:
    """Read a file with a JSON value on each line, such as metrics.jsonl. Empty lines are skipped.

    Args:
        path: the file.
        mend: what to do where it is wrong.

    Returns:
        For each line what messages call its place, and its value without its checksum.

    Raises:
        SpikeproofError: the file is missing, or a line is not JSON or has a checksum that does not fit.
    """
    lines = enumerate(read_text(path, mend).splitlines(), start=1)
    wheres = [(f"{path}, line {number}", line) for number, line in lines if line.strip()]
    return [(where, sealed_value(line, where, mend)) for where, line in wheres]


def read_record(kind: type[_Kind], path: Path, mend: str) -> _Kind:
    """Read a file that holds one record.

    Args:
        kind: which record it should be.
        path: the file.
        mend: what to do where it is wrong.

    Raises:
        SpikeproofError: the file is missing, damaged, or no such record.
    """
    return as_record(kind, sealed_value(read_text(path, mend), str(path), mend), str(path), mend)
