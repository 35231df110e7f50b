"""A part of a recipe as config.json recorded it, made into what it was, field by field and type by type."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from spikeproof.errors import SpikeproofError
from spikeproof.runs import RunFolder

_Part = TypeVar("_Part")


def recorded_part(kind: type[_Part], folder: Path, part: str) -> _Part:
    """The settings ``part`` of the recipe of the run in ``folder``.

    Args:
        kind: the class of these settings.
        folder: of the run.
        part: their name in the recipe, such as "audit".

    Raises:
        SpikeproofError: no run there, one without a recipe, or settings that this version does not know.
    """
    run = RunFolder(folder)
    recipe = run.config()["recipe"]
    run.refuse_own_network()
    if part not in recipe:
        raise SpikeproofError(
            f"The run in {folder} has no recipe, so its {part} settings are unknown: it was trained or audited from "
            "Python; go on there, with spikeproof.load_model(RUN/model.safetensors) where the network was made here."
        )
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe[part].items()}
        hints = typing.get_type_hints(kind)
        for name, value in values.items():
            try:
                TypeAdapter(hints[name]).validate_python(value, strict=True)
            except ValidationError:
                raise TypeError(f"{name} {value!r:.60}") from None
        return kind(**values)
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise SpikeproofError(
            f"{folder}/config.json does not describe its {part} in a way this version knows ({error}); "
            "use the version that wrote it."
        ) from None
