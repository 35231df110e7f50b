"""A record: one JSON object of a file, as a frozen pydantic model; and the sentence that refuses a wrong object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays
from spikeproof.records.values import PATTERNS

_LONGEST = 60  # letters of a value or a field that a message quotes


class FileRecord(BaseModel):
    """An object of a file. Its fields have the names that they have in the file, or these as aliases."""

    model_config = ConfigDict(frozen=True, from_attributes=True, ser_json_inf_nan="constants")

    def plain(self) -> dict[str, Any]:
        """The object as plain values, by the names of the file. NaN and infinities stay numbers."""
        return self.model_dump(mode="json", by_alias=True, warnings=False)


class RunRecord(FileRecord):
    """A record of a run folder. There null in an optional field means that the field is left out."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        optional = {field.alias or name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: each for name, each in value.items() if each is not None or name not in optional}


def by_todays_names(value: Any, field: str, former: int, today: int) -> Any:
    """Rename the fields of a JSON object of the former version to today's names.

    Args:
        value: any JSON value; what is no object of that version stays as it is.
        field: the field that says the version.
        former: the version with the former names.
        today: the version with today's names, which the result says.
    """
    if isinstance(value, dict) and type(value.get(field)) is int and value[field] == former:
        return {**todays(value), field: today}
    return value


@contextlib.contextmanager
def in_one_sentence(where: str, mend: str) -> Iterator[None]:
    """A context that turns pydantic's error into one sentence: where, which field, what it should be, what it is.

    Args:
        where: the file, or whatever else the values are from.
        mend: what to do, without a full stop.

    Raises:
        SpikeproofError: the first thing that is wrong.

    Example:
        >>> from spikeproof.records.run_json import Note
        >>> with in_one_sentence("facts.json", "mend it"):
        ...     Note.model_validate({"data_note": 3})
        Traceback (most recent call last):
        spikeproof.errors.SpikeproofError: facts.json: 'data_note' should be a text, got 3; mend it.
    """
    try:
        yield
    except ValidationError as error:
        raise SpikeproofError(_sentence(error.errors(include_url=False)[0], where, mend)) from None


# What a value should be, in place of pydantic's own words, which are for programmers.
_PLAINLY = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a JSON object"),
}


def _sentence(error: ErrorDetails, where: str, mend: str) -> str:
    kind, context = error["type"], error.get("ctx", {})
    field = _dotted((*error["loc"], *([context["field"]] if kind == "contradiction" else [])))
    subject = f"{where}: {field}" if field else where
    if kind == "missing":
        return f"{where}: the field {field} is missing; {mend}."
    if kind == "extra_forbidden":
        return f"{subject} is no field that belongs there; {mend}."
    if kind == "string_pattern_mismatch":
        wanted = f"be {PATTERNS[context['pattern']]}"
    else:
        wanted = f"be {_PLAINLY[kind]}" if kind in _PLAINLY else error["msg"].partition("should ")[2]
    got = "" if kind == "contradiction" else f", got {_short(error['input'])}"
    return f"{subject} should {wanted}{got}; {mend}."


def _dotted(keys: tuple[int | str, ...]) -> str:
    """The quoted name of a field within fields, such as 'cells.Clean.count' or 'trials[3].left'; "" without keys."""
    if keys and keys[-1] == "[key]":  # pydantic says so where a name is wrong, and not the value under it
        keys = keys[:-1]
    names = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    name = "".join(each if len(each) <= _LONGEST else f"{each[: _LONGEST - 3]}..." for each in names)
    return repr(name.removeprefix(".")) if name else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
