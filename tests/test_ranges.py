"""Every number of training, network and data has its range, and is refused outside it before anything is written."""

import dataclasses
import math
import re
import typing

import pytest

from spikeproof.data import Augmentation
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.ranges import check_seed, check_whole
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.spiking import Neuron
from spikeproof.train import TrainConfig
from spikeproof.train.checks import check_fit

WHOLE = (-(10**20), -(2**63) - 1, -1, 0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**20, 10**400, 10**5000)
REAL = (-math.inf, -1e308, -1.0, -0.0, 0.0, 5e-324, 1e-30, 1.0, 1e30, 1e308, math.inf, math.nan)


def numbers_of(kind):
    """The fields of a kind of settings that take a number, and whether it is a whole one."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        taken = {hints[field.name], *typing.get_args(hints[field.name])}
        if taken & {int, float} and bool not in taken:
            yield field.name, int in taken


NONE = Augmentation(crop_padding=0, cutout=0)
PLACES = {
    "train": (TrainConfig, lambda change: {"train": TrainConfig(**{"augmentation": None} | change)}),
    "augmentation": (
        Augmentation,
        lambda change: {"train": TrainConfig(augmentation=Augmentation(**{"crop_padding": 0, "cutout": 0} | change))},
    ),
    "model": (ModelConfig, lambda change: {"model": ModelConfig(**{"name": "conv"} | change)}),
    "neuron": (Neuron, lambda change: {"model": ModelConfig(name="conv", neuron=Neuron(**change))}),
    "data": (DataConfig, lambda change: {"data": DataConfig(**{"name": "digits", "validation": 50} | change)}),
}
USUAL = {
    "data": DataConfig(name="digits", validation=50),
    "model": ModelConfig(name="conv", width=0.25),
    "train": TrainConfig(augmentation=None),
}
CASES = [
    (place, field, value)
    for place, (kind, _) in PLACES.items()
    for field, whole in numbers_of(kind)
    for value in (WHOLE if whole else REAL)
]


def begins(recipe):
    """All that comes before a run folder is begun."""
    data = recipe.data.load(None)
    model = recipe.model.create(data, recipe.train.seed)
    with private_rng():
        check_fit(model, data, recipe.train)


def test_the_fields_are_those_that_are_known():
    fields = {(place, field) for place, field, _ in CASES}
    assert {("train", "microbatch"), ("train", "seed"), ("train", "weight_decay"), ("data", "seed")} <= fields
    assert {("model", "num_steps"), ("model", "width"), ("neuron", "leak"), ("augmentation", "cutout")} <= fields
    assert len(fields) >= 18


@pytest.mark.parametrize(("place", "field"), dict.fromkeys((place, field) for place, field, _ in CASES))
def test_an_extreme_number_is_taken_or_refused_in_one_sentence(place, field):
    taken = []
    for value in [value for at, name, value in CASES if (at, name) == (place, field)]:
        try:
            recipe = Recipe(name="mine", **USUAL | PLACES[place][1]({field: value}))
            begins(recipe)
            taken.append(value)
        except SpikeproofError as error:
            assert re.fullmatch(r"[^\n]{10,600}\.", str(error))
            assert field in str(error) or field.replace("_", " ") in str(error), error
    assert all(math.isfinite(value) for value in taken if isinstance(value, float))
    assert all(abs(value) < 2**63 for value in taken if isinstance(value, int))


def test_whole_numbers(refuses):
    for value in (1, 2, 7):
        check_whole("Training", "epochs", value, 1, 7)
    with refuses("Training", "epochs >= 1", "got 0"):
        check_whole("Training", "epochs", 0, 1, 7)
    with refuses("Training", "epochs <= 7", "got 8"):
        check_whole("Training", "epochs", 8, 1, 7)
    with refuses("16610 bits"):
        check_whole("Training", "epochs", 10**5000, 1, 7)
    for other in (1.0, True, "1", None):
        with refuses("whole number of epochs", repr(other)):
            check_whole("Training", "epochs", other, 1, 7)


def test_seeds(refuses):
    for value in (-(2**63), -1, 0, 2**63 - 1):
        check_seed("Training", value)
    for value in (-(2**63) - 1, 2**63, 10**5000, True, 0.5, "0"):
        with refuses("Training", "64 bits"):
            check_seed("Training", value)
