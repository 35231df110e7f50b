"""The options of a recipe: its parts' fields, and those of each defense that it has (``--mpd-sgr.eta``)."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from spikeproof.cli.field_types import field_type
from spikeproof.recipes import Recipe


def recipe_options() -> contextlib.AbstractContextManager[None]:
    """A context in which tyro reads a recipe's defenses as parts of it, and texts such as "8/255"."""
    rules = ConstructorRegistry()
    rules.primitive_rule(field_type)
    rules.struct_rule(_of_a_recipe)
    return rules


def _of_a_recipe(asked: StructTypeInfo) -> StructConstructorSpec | None:
    if asked.type is not Recipe or not isinstance(asked.default, Recipe):
        return None
    recipe = asked.default
    defenses = {defense.field: defense for defense in recipe.defenses}
    parts: dict[str, Any] = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}
    # Where the recipe's list of defenses stands, there stand its members, each under its own name.
    at = list(parts).index("defenses")
    before, (_, *after) = list(parts.items())[:at], list(parts.items())[at:]

    def instantiate(**given: Any) -> Recipe:
        chosen = tuple(given.pop(name) for name in defenses)
        return Recipe(**given, defenses=chosen)

    return StructConstructorSpec(
        instantiate=instantiate,
        fields=tuple(
            StructFieldSpec(name=name, type=type(value), default=value)
            for name, value in (*before, *defenses.items(), *after)
        ),
    )
