"""Scales of a table: the same rows and attacks on less data, with fewer epochs and narrower networks."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from spikeproof.errors import SpikeproofError
from spikeproof.recipes.recipe import Recipe

Scale = Literal["mini", "short", "full"]

_EPOCHS: dict[str, float] = {"mini": 0.1, "short": 0.15, "full": 1.0}
# WRN16's stem has 16 channels; an eighth of these would be 2.
_MINI_WIDTH, _MINI_WIDTH_OF = 0.125, {"wrn16": 0.25}
# An epoch of 800 images has few steps.
_MINI_EPOCHS_OF = {"tiny_imagenet": 0.3}
# Classes, training images and validation images. CIFAR-100 has 500 training images a class, so five of its classes
# give as many images as three of CIFAR-10. Of Tiny-ImageNet there are small copies, of 50 images a class.
_MINI_DATA: dict[str, tuple[tuple[int, ...], int, int]] = {
    "cifar10": ((0, 1, 3), 2000, 500),
    "cifar100": ((0, 8, 13, 19, 23), 2000, 500),
    "tiny_imagenet": (tuple(range(0, 200, 10)), 800, 200),
}
_WORDS: dict[str, str] = {
    "mini": "three classes and 2,000 training images of CIFAR-10 (five and 2,000 of CIFAR-100, 20 and 800 of "
    "Tiny-ImageNet), a tenth of the epochs (Tiny-ImageNet: three tenths), an eighth of the width (WRN16: a quarter)",
    "short": "all data at full width, 15 % of the epochs",
    "full": "all data at full width, all epochs",
}


def at_scale(recipe: Recipe, scale: Scale) -> Recipe:
    """A recipe of a table, written at full scale, at another one: only width, data and epochs change.

    Raises:
        SpikeproofError: an unknown scale, or "mini" of a data set for which that is not defined.

    Example:
        >>> from spikeproof.tables import find_table
        >>> small = at_scale(find_table("mpd-sgr-table1").rows[0].recipe, "mini")
        >>> small.train.epochs, small.model.width, small.data.train_limit
        (20, 0.125, 2000)
    """
    _check(scale)
    if scale == "full":
        return recipe
    share = _MINI_EPOCHS_OF.get(recipe.data.name, _EPOCHS[scale]) if scale == "mini" else _EPOCHS[scale]
    epochs = max(1, round(recipe.train.epochs * share))
    shortened = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))
    if scale == "short":
        return shortened
    if recipe.data.name not in _MINI_DATA:
        raise SpikeproofError(
            f"There is no mini scale of the data set {recipe.data.name}; there is one of {', '.join(_MINI_DATA)}."
        )
    classes, train_limit, validation = _MINI_DATA[recipe.data.name]
    width = recipe.model.width * _MINI_WIDTH_OF.get(recipe.model.name, _MINI_WIDTH)
    return dataclasses.replace(
        shortened,
        data=dataclasses.replace(recipe.data, classes=classes, train_limit=train_limit, validation=validation),
        model=dataclasses.replace(recipe.model, width=width),
    )


def describe(scale: Scale) -> str:
    """What a scale leaves of a table, in words for its title.

    Raises:
        SpikeproofError: an unknown scale.

    Example:
        >>> describe("short")
        'all data at full width, 15 % of the epochs'
    """
    _check(scale)
    return _WORDS[scale]


def audit_sizes(scale: Scale) -> tuple[int | None, int]:
    """How many test images the columns are measured on (None: all), and how many the worst case.

    Raises:
        SpikeproofError: an unknown scale.

    Example:
        >>> audit_sizes("mini")
        (200, 200)
    """
    _check(scale)
    sizes: dict[str, tuple[int | None, int]] = {"mini": (200, 200), "short": (1000, 500), "full": (None, 1000)}
    return sizes[scale]


def _check(scale: str) -> None:
    if scale not in get_args(Scale):
        raise SpikeproofError(f"The scales are {', '.join(get_args(Scale))}, not {scale!r}.")
