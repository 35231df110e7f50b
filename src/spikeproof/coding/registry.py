"""Every coding by its name, as text ("rsc(sigma=0.1)") and as plain values."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

import tyro

from spikeproof.coding.coding import Coding
from spikeproof.coding.direct import Direct
from spikeproof.errors import SpikeproofError

CODINGS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Direct,)}


def parse_coding(text: str) -> Coding:
    """A coding from text: its name in any case, and its numbers where they are not the defaults.

    Raises:
        SpikeproofError: an unknown name, an unknown or impossible number.

    Example:
        >>> parse_coding("direct")
        Direct()
    """
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", text.strip())
    kinds = {name.lower(): kind for name, kind in CODINGS.items()}
    if match is None or match[1].lower() not in kinds:
        raise SpikeproofError(f"{text!r} is not a coding; give one of {', '.join(kinds)}, or as in 'rsc(sigma=0.1)'.")
    kind = kinds[match[1].lower()]
    fields = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, float] = {}
    for place, part in enumerate(part.strip() for part in (match[2] or "").split(",") if part.strip()):
        name, _, number = part.rpartition("=")
        name = name.strip() or (fields[place] if place < len(fields) else "")
        if name not in fields:
            raise SpikeproofError(f"{text!r} is not a coding: {match[1]} takes {', '.join(fields) or 'no numbers'}.")
        try:
            values[name] = float(number) if set(number) & set(".eE") else int(number)
        except ValueError:
            raise SpikeproofError(f"{text!r} is not a coding: {number!r} is not a number.") from None
    made: Coding = kind(**values)
    return made


def coding_to_json(coding: Coding) -> dict[str, Any]:
    """The coding by its name, and its numbers."""
    return {"name": type(coding).__name__, **dataclasses.asdict(coding)}  # type: ignore[call-overload]


def coding_from_json(plain: dict[str, Any]) -> Coding:
    """What :func:`coding_to_json` wrote; KeyError or TypeError for what it did not."""
    values = {name: tuple(held) if isinstance(held, list) else held for name, held in plain.items() if name != "name"}
    made: Coding = CODINGS[plain["name"]](**values)
    return made


def _to_text(coding: Coding) -> str:
    numbers = ", ".join(f"{name}={value}" for name, value in dataclasses.asdict(coding).items())  # type: ignore[call-overload]
    return f"{type(coding).__name__}({numbers})"


# A coding as a field of a recipe: the command line then reads "rsc(sigma=0.1)".
CodingField = Annotated[
    Coding,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="CODING",
        instance_from_str=lambda words: parse_coding(words[0]),
        is_instance=lambda value: type(value) in CODINGS.values(),
        str_from_instance=lambda value: [_to_text(value)],
    ),
]
