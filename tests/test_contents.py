"""What an object holds decides, and not how it prints."""

import dataclasses
import functools
import json
import math
import threading
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.contents import contents
from spikeproof.defenses import Defense
from spikeproof.spiking import Neuron, Triangle


@dataclasses.dataclass
class Hidden:
    weight: float = dataclasses.field(default=0.0, repr=False, compare=False)


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight):
        self.weight = weight


class Plain:
    def __init__(self, weight):
        self._weight = weight


class Late(Defense):
    def __init__(self, weight):
        object.__setattr__(self, "weight", weight)


def times(factor):
    return lambda value: value * factor


def linear(weight):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, weight)
    return layer


MAKERS = {
    "a field that does not print": Hidden,
    "a slot": Slotted,
    "a private attribute": Plain,
    "an attribute of a defense that is no field": Late,
    "deep in a list": lambda weight: [{"here": (Plain(weight),)}],
    "a tensor": lambda weight: torch.full((3,), weight),
    "an array": lambda weight: np.full(3, weight),
    "an array's number": lambda weight: np.float64(weight),
    "a network": linear,
    "what a function has caught": times,
    "a function's default": lambda weight: lambda value, by=weight: value * by,
    "a partial": lambda weight: functools.partial(pow, weight),
    "a method": lambda weight: Plain(weight).__init__,
    "a decimal": lambda weight: Decimal(str(weight)),
    "a fraction": Fraction,
    "a set": lambda weight: {weight, 7},
    "a long text": lambda weight: "x" * 5000 + str(weight),
    "bytes": lambda weight: str(weight).encode(),
    "a path": lambda weight: Path(str(weight)),
    "a key": lambda weight: OrderedDict({weight: 1}),
    "a nested neuron": lambda weight: Neuron(surrogate=Triangle(gamma=weight + 1)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_equal_and_only_equal_contents_are_told_alike(make):
    assert contents(make(0.25)) == contents(make(0.25)) != contents(make(0.5))
    assert json.loads(json.dumps(contents(make(0.25)), allow_nan=False)) == contents(make(0.25))


def test_the_code_of_a_function_counts():
    assert contents(lambda value: value * 2) != contents(lambda value: value * 3)
    assert contents(lambda value: value in {"a", "b"}) == contents(lambda value: value in {"a", "b"})


def test_the_class_counts():
    assert contents(Slotted(1)) != contents(Plain(1))


def test_numbers_that_json_has_none_for():
    assert contents([math.nan, -math.inf]) == ["nan", "-inf"]


def test_what_holds_itself_ends():
    ring = Plain(None)
    ring._weight = [ring]
    assert contents(ring) == {"class": "Plain", "_weight": ["itself"]}


def test_what_cannot_be_looked_into_is_told_by_its_kind():
    assert contents(threading.Lock()) == {"class": "lock"}


def test_what_is_remembered_for_speed_is_no_content():
    class Remembering:
        @functools.cached_property
        def answer(self):
            return 42

    used, fresh = Remembering(), Remembering()
    assert used.answer == 42
    assert contents(used) == contents(fresh)
