"""The command that lists the named experiments."""

from __future__ import annotations

import dataclasses
import json

from spikeproof.cli.arguments import RecipesArguments, read_arguments
from spikeproof.coding import Direct, coding_to_text
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import RECIPES, Recipe
from spikeproof.spiking import Neuron


def recipes_command(words: list[str], command: str) -> None:
    """Print a line for each recipe that has all the words."""
    arguments = read_arguments(RecipesArguments, words, prog="spikeproof recipes")
    chosen = [
        recipe
        for recipe in RECIPES.values()
        if all(word.lower() in " ".join(_row_of(recipe)).lower() for word in arguments.words)
    ]
    if not chosen:
        raise SpikeproofError(
            f"No recipe has {' and '.join(arguments.words)}; `spikeproof recipes` lists all {len(RECIPES)}."
        )
    if arguments.json:
        print(json.dumps([recipe.settings() for recipe in chosen], indent=1))
        return
    rows = [("RECIPE", "NETWORK", "DATA", "DEFENSES", "ELSE"), *(_row_of(recipe) for recipe in chosen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row_of(recipe: Recipe) -> tuple[str, str, str, str, str]:
    """What tells a recipe from the others."""
    model, data = recipe.model, recipe.data
    network = f"{model.name}{'' if model.width == 1 else f' x{model.width:g}'} T={model.num_steps}"
    images = data.name + ("" if data.classes is None else f" ({len(data.classes)} classes)")
    other = [
        *([] if model.coding == Direct() else [coding_to_text(model.coding)]),
        *([] if model.neuron.surrogate == Neuron().surrogate else [str(model.neuron.surrogate)]),
        *([] if model.batch_norm == "merged" else [f"{model.batch_norm} batch norm"]),
        *(words for defense in recipe.defenses for words in _own_settings(defense)),
    ]
    defenses = " + ".join(defense.label for defense in recipe.defenses)
    return recipe.name, network, images, defenses or "none", ", ".join(other)


def _own_settings(defense: Defense) -> list[str]:
    """What is not as the class has it by default, but for the radius, which follows from the data."""
    usual = type(defense)()
    names = [field.name for field in dataclasses.fields(defense) if field.name != "eps"]
    changed = [name for name in names if getattr(defense, name) != getattr(usual, name)]
    return [f"{name.replace('_', ' ')} {getattr(defense, name)}" for name in changed]
