"""The examples in the docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import spikeproof.data

MODULES = [module.name for module in pkgutil.iter_modules(spikeproof.data.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"spikeproof.data.{name}")
    assert doctest.testmod(module).failed == 0


def test_the_examples_are_found():
    assert doctest.testmod(importlib.import_module("spikeproof.data.image_set")).attempted > 5
    assert doctest.testmod(importlib.import_module("spikeproof.data.load")).attempted > 1


def test_the_room_exports_what_it_promises():
    assert sorted(spikeproof.data.__all__) == [
        "Augmentation",
        "Data",
        "ImageSet",
        "load_data",
        "load_frames",
        "load_tonic",
    ]
