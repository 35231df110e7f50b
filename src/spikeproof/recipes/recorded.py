"""A part of a recipe as config.json recorded it, made into what it was, field by field and type by type."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from spikeproof.errors import SpikeproofError
from spikeproof.runs import RunFolder

_Part = TypeVar("_Part")


def recorded_part(kind: type[_Part], folder: Path, part: str) -> _Part:
    """The settings ``part`` of the recipe of the run in ``folder``.

    Raises:
        SpikeproofError: no run there, one without a recipe, or settings that this version does not know.
    """
    run = RunFolder(folder)
    recipe = run.config()["recipe"]
    run.refuse_own_network()
    if part not in recipe:
        raise SpikeproofError(
            f"The run in {folder} has no recipe, so its {part} settings are unknown: it was trained or audited from "
            "Python; audit it there with spikeproof.audit."
        )
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe[part].items()}
        hints = typing.get_type_hints(kind)
        odd = [f"{name} {_short(value)}" for name, value in values.items() if not _fits(value, hints[name])]
        if odd:
            raise TypeError(odd[0])
        return kind(**values)
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise SpikeproofError(
            f"{folder}/config.json does not describe its {part} in a way this version knows ({error}); "
            "use the version that wrote it."
        ) from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field asks for.

    Example:
        >>> _fits(3, int | None), _fits(True, int), _fits((1, 2), tuple[int, ...]), _fits("x", float | str)
        (True, False, True, True)
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return type(value) is str and value in parts
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
