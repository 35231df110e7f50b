"""Whether a JSON value is as schema.py's schema says; its first mistake is one sentence."""

from __future__ import annotations

import math
import re
from typing import Any

from spikeproof.errors import SpikeproofError

MEND = "correct the file, or write it again with `spikeproof reproduce`"


def conform(value: object, schema: dict[str, Any], root: dict[str, Any], where: str, field: str = "") -> None:
    """Nothing, if ``value`` is as ``schema`` says.

    Stricter than JSON Schema in this: 5.0 is no whole number, NaN and infinities are none at all, and a text has no
    letter that cannot be seen, such as one that turns the direction of the line.

    Args:
        root: the whole document, in which references are looked up.
        where: the file, for the message; ``field`` is the place in it, with dots.

    Raises:
        SpikeproofError: the first mistake, by file and field.
    """
    if "anyOf" in schema:  # a reference or null
        if value is None:
            return
        schema = schema["anyOf"][0]
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if not _fits(value, schema):
        place = f"{where}: {field!r}" if field else where
        raise SpikeproofError(f"{place} should be {_expected(schema)}, got {_short(value)}; {MEND}.")
    if isinstance(value, list):
        for i, item in enumerate(value):
            conform(item, schema["items"], root, where, f"{field}[{i}]")
    elif isinstance(value, dict):
        _conform_members(value, schema, root, where, field)


def _conform_members(
    value: dict[str, object], schema: dict[str, Any], root: dict[str, Any], where: str, field: str
) -> None:
    known, dot = schema.get("properties", {}), f"{field}." if field else ""
    if missing := [name for name in schema.get("required", ()) if name not in value]:
        raise SpikeproofError(f"{where}: the field {dot + missing[0]!r} is missing; {MEND}.")
    for name, held in value.items():
        rest = schema["additionalProperties"]
        if name not in known and rest is False:
            raise SpikeproofError(f"{where}: {_short(dot + name)} is no field of a result; {MEND}.")
        if name not in known:
            conform(name, schema.get("propertyNames", {"type": "string"}), root, where, f"{dot}{_printable(name)}")
        conform(held, known.get(name, rest), root, where, f"{dot}{_printable(name)}")


def _fits(value: object, schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if value is None:
        return True
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        right_length = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return right_length and value.isprintable() and re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return not schema.get("uniqueItems") or len({str(item) for item in value}) == len(value)
    if isinstance(value, (int, float)):
        above_all = schema.get("exclusiveMinimum", -math.inf) < value
        return above_all and schema.get("minimum", value) <= value <= schema.get("maximum", value)
    return True


def _is(value: object, kind: str) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "integer": whole,
        "number": whole or (isinstance(value, float) and math.isfinite(value)),
        "null": value is None,
    }[kind]


def _expected(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    kinds = schema["type"]
    optional = not isinstance(kinds, str)
    kind = kinds[0] if optional else kinds
    words = {
        "object": "a JSON object",
        "array": "a list without repetitions" if schema.get("uniqueItems") else "a list",
        "string": schema.get("description", "a text"),
        "integer": "a whole number",
        "number": "a finite number",
    }[kind]
    if kind in ("integer", "number"):
        low, above = schema["minimum"], schema.get("exclusiveMinimum")
        words += f" above {above:g}" if above is not None else f" from {low:g}"
        words += f" up to {schema['maximum']:.16g}"
    return f"{words}, or null" if optional else words


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _printable(name: str) -> str:
    return name if name.isprintable() and len(name) <= 60 else _short(name)
