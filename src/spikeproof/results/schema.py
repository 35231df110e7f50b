"""What a result file may hold, as a JSON Schema made from the records. Reading checks files against this schema."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from spikeproof.disk import write_atomically
from spikeproof.results.records import SCHEMA, Cell, Count, ResultRow, TableHeader, Verdict, Worst

SCALES = ("mini", "short", "full")
SLUG = {
    "type": "string",
    "pattern": "^[a-z0-9]+([._-][a-z0-9]+)*$",
    "maxLength": 80,  # it names files
    "description": "lower-case letters and digits, at most 80, with single dashes, dots or underscores between them",
}
# What every JSON reader keeps exactly, and sums of it do too.
_LARGEST_WHOLE = 2**53 - 1
_LARGEST = 1e15

_TEXT = {
    "type": "string",
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
    "description": "a text of one printable line",
}
_NAMED = _TEXT | {"minLength": 1, "description": "a text of one printable line, not empty"}
_POSITIVE = {"minimum": 0, "exclusiveMinimum": 0}
_FROM_1 = {"minimum": 1}
_FROM_0 = {"minimum": 0}

# What the type of a field does not say, by the field's name.
_RULES: dict[str, dict[str, Any]] = {
    "schema": {"const": SCHEMA},
    "table": SLUG,
    "row": SLUG,
    "scale": {"enum": list(SCALES)},
    "order": {"items": SLUG, "uniqueItems": True},
    "columns": {"items": _NAMED, "uniqueItems": True},
    "missing": {"propertyNames": SLUG},
    "flags": {"items": _NAMED},
    "recipe_hash": {"pattern": "^[0-9a-f]{8,64}$", "description": "8 to 64 hexadecimal digits in lower case"},
    "images": {"pattern": "^([0-9a-f]{16})?$", "description": "16 hexadecimal digits in lower case, or nothing"},
    "classes": {"minimum": 2},
    "eps": _POSITIVE | {"maximum": 1},
    "p": {"minimum": 0, "maximum": 1},
    **dict.fromkeys(("samples", "train_images", "num_steps", "threads"), _FROM_1),
    **dict.fromkeys(("training_seconds", "audit_seconds", "synaptic_operations"), _FROM_0),
    "width": _POSITIVE,
    **dict.fromkeys(
        (
            *("label", "dataset", "network", "coding", "code_version", "torch_version", "device", "training_precision"),
            *(
                "crafting_precision",
                "protocol_attack",
                "command",
                "battery",
                "protocol_trial",
                "title",
                "source",
                "text",
            ),
            "column",
        ),
        _NAMED,
    ),
}


def row_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a row's file; of a table's header it is ``$defs/TableHeader``.

    It says all that can be said of one field. Reading asks more, such as that ``correct`` is at most ``samples``; see
    agreement.py.

    Example:
        >>> row_schema()["properties"]["scale"]
        {'type': 'string', 'enum': ['mini', 'short', 'full']}
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spikeproof result: one row of one table with one seed",
        **_object(ResultRow),
        "$defs": {
            "Count": _with_interval(_object(Count)),
            **{kind.__name__: _object(kind) for kind in (Cell, Worst, TableHeader, Verdict)},
        },
    }


def write_schema(path: Path) -> None:
    """Write :func:`row_schema` to ``path``."""
    text = json.dumps(row_schema(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def _with_interval(count: dict[str, Any]) -> dict[str, Any]:
    """A count as it is written: also its interval, which follows from it and may be left out."""
    bounds = {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 100},
        "description": "95 % score interval (Wilson 1927) in percent, to two decimals",
    }
    return {**count, "properties": {**count["properties"], "interval": bounds}}


def _object(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return {
        "type": "object",
        "properties": {name: _field(hints[name], _RULES.get(name, {})) for name in names},
        "required": [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }


def _field(hint: Any, rule: dict[str, Any]) -> dict[str, Any]:
    held = _value(hint)
    return {"type": held["type"], **rule} if {"const", "enum"} & rule.keys() else held | rule


def _value(hint: Any) -> dict[str, Any]:
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        held = _value(parts[0])  # the other is None
        return {"anyOf": [held, {"type": "null"}]} if "$ref" in held else held | {"type": [held["type"], "null"]}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _value(parts[0])}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _value(parts[1])}
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/$defs/{typing.cast(type, hint).__name__}"}
    if hint is int:
        return {"type": "integer", "minimum": 0, "maximum": _LARGEST_WHOLE}
    if hint is float:
        return {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
    return dict(_TEXT)
