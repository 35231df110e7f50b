"""Scales of a table: the same rows and attacks on less data, with fewer epochs and narrower networks."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from spikeproof.errors import SpikeproofError
from spikeproof.recipes.recipe import Recipe

Scale = Literal["mini", "short", "full"]

# In batches of one size, so that all rows of a data set make as many optimiser steps.
_BATCH = 64
_EPOCHS: dict[tuple[str, str], int] = {
    ("mini", "cifar10"): 12,
    ("mini", "cifar100"): 30,
    ("mini", "tiny_imagenet"): 60,
}
_SHORT_EPOCHS = 30
# WRN16's stem has 16 channels; an eighth of these would be 2.
_WIDTH: dict[str, float] = {"mini": 0.125, "short": 0.25}
_WIDTH_OF: dict[tuple[str, str], float] = {("mini", "wrn16"): 0.25, ("short", "wrn16"): 0.5}
# Classes, training images and validation images. Ten classes, since three leave an attacked network too much of what
# chance gives. CIFAR-100 has 500 training images a class, Tiny-ImageNet's small copies 50.
_MINI_DATA: dict[str, tuple[tuple[int, ...] | None, int, int]] = {
    "cifar10": (None, 10_000, 1000),
    "cifar100": (tuple(range(0, 100, 10)), 4000, 1000),
    "tiny_imagenet": (tuple(range(0, 200, 10)), 800, 200),
}
_WORDS: dict[str, str] = {
    "mini": "10,000 training images of CIFAR-10 (ten classes and 4,000 of CIFAR-100, 20 and 800 of Tiny-ImageNet), "
    "12 epochs (30, 60) in batches of 64, an eighth of the width (WRN16: a quarter)",
    "short": "all data, 30 epochs in batches of 64, a quarter of the width (WRN16: half)",
    "full": "all data at full width, all epochs",
}


def at_scale(recipe: Recipe, scale: Scale) -> Recipe:
    """A recipe of a table, written at full scale, at another one: only width, data, epochs and batches change.

    Args:
        recipe: at full scale.
        scale: "mini", "short" or "full".

    Raises:
        SpikeproofError: an unknown scale, or "mini" of a data set for which that is not defined.

    Example:
        >>> from spikeproof.tables import find_table
        >>> small = at_scale(find_table("mpd-sgr-table1").rows[0].recipe, "mini")
        >>> small.train.epochs, small.model.width, small.data.train_limit
        (12, 0.125, 10000)
    """
    _check(scale)
    if scale == "full":
        return recipe
    if scale == "mini" and recipe.data.name not in _MINI_DATA:
        raise SpikeproofError(
            f"There is no mini scale of the data set {recipe.data.name}; there is one of {', '.join(_MINI_DATA)}."
        )
    epochs = _EPOCHS.get((scale, recipe.data.name), _SHORT_EPOCHS)
    smaller = dataclasses.replace(
        recipe,
        model=dataclasses.replace(
            recipe.model, width=recipe.model.width * _WIDTH_OF.get((scale, recipe.model.name), _WIDTH[scale])
        ),
        train=dataclasses.replace(recipe.train, epochs=epochs, batch_size=_BATCH),
    )
    if scale == "short":
        return smaller
    classes, train_limit, validation = _MINI_DATA[recipe.data.name]
    data = dataclasses.replace(recipe.data, classes=classes, train_limit=train_limit, validation=validation)
    return dataclasses.replace(smaller, data=data)


def describe(scale: Scale) -> str:
    """What a scale leaves of a table, in words for its title.

    Raises:
        SpikeproofError: an unknown scale.

    Example:
        >>> describe("short")
        'all data, 30 epochs in batches of 64, a quarter of the width (WRN16: half)'
    """
    _check(scale)
    return _WORDS[scale]


def audit_sizes(scale: Scale) -> tuple[int | None, int]:
    """How many test images the columns are measured on (None: all), and how many the worst case.

    Raises:
        SpikeproofError: an unknown scale.

    Example:
        >>> audit_sizes("mini")
        (500, 200)
    """
    _check(scale)
    sizes: dict[str, tuple[int | None, int]] = {"mini": (500, 200), "short": (1000, 500), "full": (None, 1000)}
    return sizes[scale]


def _check(scale: str) -> None:
    if scale not in get_args(Scale):
        raise SpikeproofError(f"The scales are {', '.join(get_args(Scale))}, not {scale!r}.")
