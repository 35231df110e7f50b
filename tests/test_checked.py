"""Every number of training, network and data has its range, and is refused outside it before anything is written."""

import dataclasses
import math
import re
import typing

import numpy as np
import pytest

from spikeproof.checked import check_seed, check_sizes, whole
from spikeproof.data import Augmentation
from spikeproof.defenses import DEFENSES
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.spiking import Neuron
from spikeproof.train import TrainConfig, train
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
    "train": (TrainConfig, lambda change: {"train": dataclasses.replace(USUAL["train"], **change)}),
    "augmentation": (
        Augmentation,
        lambda change: {"train": dataclasses.replace(USUAL["train"], augmentation=dataclasses.replace(NONE, **change))},
    ),
    "model": (ModelConfig, lambda change: {"model": dataclasses.replace(USUAL["model"], **change)}),
    "neuron": (Neuron, lambda change: {"model": dataclasses.replace(USUAL["model"], neuron=Neuron(**change))}),
    "data": (DataConfig, lambda change: {"data": dataclasses.replace(USUAL["data"], **change)}),
}
USUAL = {
    "data": DataConfig(name="digits", validation=50, train_limit=32),
    "model": ModelConfig(name="conv", width=0.25, num_steps=2, kernels="reference"),
    "train": TrainConfig(augmentation=None, epochs=1, batch_size=32),
}
CASES = [
    (place, field, value)
    for place, (kind, _) in PLACES.items()
    for field, is_whole in numbers_of(kind)
    for value in (WHOLE if is_whole else REAL)
]


def begins(recipe):
    """All that comes before a run folder is begun."""
    data = recipe.data.load(None)
    model = recipe.model.create(data, recipe.train.seed)
    with private_rng():
        check_fit(model, data, recipe.train)
    return model, data


def ends(recipe):
    """A training of one step."""
    model, data = begins(recipe)
    train(model, data, recipe.defenses, recipe.train, show=False)


def test_the_fields_are_those_that_are_known():
    fields = {(place, field) for place, field, _ in CASES}
    assert {("train", "microbatch"), ("train", "seed"), ("train", "weight_decay"), ("data", "seed")} <= fields
    assert {("model", "num_steps"), ("model", "width"), ("neuron", "decay"), ("augmentation", "cutout")} <= fields
    assert len(fields) >= 18


@pytest.mark.sweep
@pytest.mark.parametrize(("place", "field"), dict.fromkeys((place, field) for place, field, _ in CASES))
def test_an_extreme_number_is_taken_or_refused_in_one_sentence(place, field):
    taken = []
    for value in [value for at, name, value in CASES if (at, name) == (place, field)]:
        try:
            recipe = Recipe(name="mine", **USUAL | PLACES[place][1]({field: value}))
            (begins if isinstance(value, int) else ends)(recipe)
            taken.append(value)
        except SpikeproofError as error:
            assert re.fullmatch(r"[^\n]{10,600}\.", str(error))
            exploded = str(error).startswith("The loss ")
            assert exploded or field in str(error) or field.replace("_", " ") in str(error), error
    assert all(math.isfinite(value) for value in taken if isinstance(value, float))
    assert all(abs(value) < 2**63 for value in taken if isinstance(value, int))


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
def test_an_extreme_number_of_a_defense(name):
    kind = DEFENSES[name]
    for field, is_whole in numbers_of(kind):
        # As many passes as are asked for are made, so these have no end.
        most = 100 if field in ("steps", "periods", "replays") else math.inf
        for value in (value for value in (WHOLE if is_whole else REAL) if not value > most):
            try:
                ends(Recipe(name="mine", **USUAL | {"defenses": (kind(**{field: value}),)}))
            except SpikeproofError as error:
                assert re.fullmatch(r"[^\n]{10,600}\.", str(error))


def test_sizes(refuses):
    check_sizes("Training", {"a": -1e30, "b": math.inf, "c": 2**63, "d": "1e40", "e": None})
    for value in (1.1e30, -1e308, 10**31, 10**5000):
        with refuses("Training", "here", "1e+30"):
            check_sizes("Training", {"there": 0.1, "here": value})


def test_whole_numbers(refuses):
    for value in (1, 2, 7, np.int64(3)):
        assert whole(value, "Training", "epochs", 1, 7) == value
    for value in (0, 8, -(10**20)):
        with refuses("Training", "epochs >= 1", "up to 7", f"got {value}"):
            whole(value, "Training", "epochs", 1, 7)
    with refuses("thousands of digits"):
        whole(10**5000, "Training", "epochs", 1, 7)
    for other in (1.0, True, "1", None):
        with refuses("epochs", "a whole number", repr(other)):
            whole(other, "Training", "epochs", 1, 7)


def test_seeds(refuses):
    for value in (-(2**63), -1, 0, 2**63 - 1, np.uint8(3)):
        assert check_seed(value, "Training") == value
    for value in (-(2**63) - 1, 2**63, 10**5000, True, 0.5, "0"):
        with refuses("Training", "a seed", "a whole number"):
            check_seed(value, "Training")
