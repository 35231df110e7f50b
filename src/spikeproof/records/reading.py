"""From a JSON file to a record, or one sentence that says what is wrong with which file and how to mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from spikeproof.disk import unsealed
from spikeproof.errors import SpikeproofError
from spikeproof.records.record import FileRecord, in_one_sentence

_Kind = TypeVar("_Kind", bound=FileRecord)


def read_text(path: Path, mend: str) -> str:
    """The text of a file.

    Raises:
        SpikeproofError: there is none, and why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpikeproofError(f"{path} is missing; {mend}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpikeproofError(f"{path} cannot be read ({error}); {mend}.") from None


def parsed(text: str, where: str, mend: str) -> Any:
    """The value that a text of JSON holds; NaN and Infinity pass.

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
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SpikeproofError(f"{where}: the field {twice!r} stands there twice; {mend}.")
    return held


def as_record(kind: type[_Kind], held: object, where: str, mend: str) -> _Kind:
    """The record that a JSON value is.

    Raises:
        SpikeproofError: it is none; the first thing that is wrong, by ``where`` and field.
    """
    with in_one_sentence(where, mend):
        return kind.model_validate(held)


def sealed_value(text: str, where: str, mend: str) -> Any:
    """The value that a text of JSON holds; an object without its checksum, if it is what was written.

    Raises:
        SpikeproofError: it is not, or no JSON.
    """
    held = parsed(text, where, mend)
    return unsealed(held, where, mend) if isinstance(held, dict) else held


def sealed_lines(path: Path, mend: str) -> list[tuple[str, Any]]:
    """Of each line of a file that is not empty where it is, as messages say it, and the value that it holds.

    Raises:
        SpikeproofError: the file is missing, or a line is not what was written, or no JSON.
    """
    lines = enumerate(read_text(path, mend).splitlines(), start=1)
    wheres = [(f"{path}, line {number}", line) for number, line in lines if line.strip()]
    return [(where, sealed_value(line, where, mend)) for where, line in wheres]


def read_record(kind: type[_Kind], path: Path, mend: str) -> _Kind:
    """The record that a file of a run folder or of a store holds.

    Raises:
        SpikeproofError: the file is missing, damaged or something else.
    """
    return as_record(kind, sealed_value(read_text(path, mend), str(path), mend), str(path), mend)
