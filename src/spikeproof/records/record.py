"""A record: one JSON object of a file, as a frozen pydantic model; and what is said of an object that is none."""

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
    """What a file may hold. Fields have the file's names, or these as aliases."""

    model_config = ConfigDict(frozen=True, from_attributes=True, ser_json_inf_nan="constants")

    def plain(self) -> dict[str, Any]:
        """The values that JSON knows, as the file has them. NaN and infinities stay numbers."""
        return self.model_dump(mode="json", by_alias=True, warnings=False)


class RunRecord(FileRecord):
    """A record of a run folder. There null says of a field that may be left out that it is."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, held: Any) -> Any:
        if not isinstance(held, dict):
            return held
        optional = {field.alias or name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in held.items() if value is not None or name not in optional}


def by_todays_names(held: Any, field: str, former: int, today: int) -> Any:
    """A JSON value by today's names, if it says that it has the former ones; else as it is.

    Args:
        field: which tells the version; former: the version that had them; today: the one that has today's.
    """
    if isinstance(held, dict) and type(held.get(field)) is int and held[field] == former:
        return {**todays(held), field: today}
    return held


@contextlib.contextmanager
def in_one_sentence(where: str, mend: str) -> Iterator[None]:
    """Whatever pydantic finds wrong within, said as one sentence: where, which field, what it should be, what it is.

    Args:
        where: the file, or what else the values are of; mend: what to do.

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


# What a value should be, where pydantic's own words are those of a programmer.
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
    place = f"{where}: {field}" if field else where
    if kind == "missing":
        return f"{where}: the field {field} is missing; {mend}."
    if kind == "extra_forbidden":
        return f"{place} is no field that belongs there; {mend}."
    if kind == "string_pattern_mismatch":
        wanted = f"be {PATTERNS[context['pattern']]}"
    else:
        wanted = f"be {_PLAINLY[kind]}" if kind in _PLAINLY else error["msg"].partition("should ")[2]
    got = "" if kind == "contradiction" else f", got {_short(error['input'])}"
    return f"{place} should {wanted}{got}; {mend}."


def _dotted(places: tuple[int | str, ...]) -> str:
    """The quoted name of a field within fields: 'cells.Clean.count', 'trials[3].left'; "" of none."""
    if places and places[-1] == "[key]":  # pydantic's word for the name in an object, rather than what it names
        places = places[:-1]
    parts = (f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
    name = "".join(part if len(part) <= _LONGEST else f"{part[: _LONGEST - 3]}..." for part in parts)
    return repr(name.removeprefix(".")) if name else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
