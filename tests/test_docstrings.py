"""Every example in a docstring runs, and everything public has a docstring of its own."""

import doctest
import importlib
import pkgutil

import pytest

import spikeproof
from spikeproof import api, coding, defenses

MODULES = ["spikeproof", *(found.name for found in pkgutil.walk_packages(spikeproof.__path__, "spikeproof."))]
EXAMPLES = [
    example
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


def test_modules_and_examples_were_found():
    assert len(MODULES) > 40
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example):
    runner, said = doctest.DocTestRunner(), []
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", MODULES)
def test_module_says_what_it_is(name):
    module = importlib.import_module(name)
    # An empty __init__.py only makes a folder a package.
    if not (name.count(".") and hasattr(module, "__path__") and len(vars(module)) < 12):
        assert module.__doc__
        assert module.__doc__.strip()


@pytest.mark.parametrize("name", sorted(set(spikeproof.__all__) - {"__version__"}))
def test_public_name_has_a_docstring(name):
    thing = getattr(spikeproof, name)
    # Not the one that its type or the dataclass decorator would lend it.
    assert thing.__doc__
    assert thing.__doc__ != type(thing).__doc__
    assert not thing.__doc__.startswith(f"{name}(")


def test_all_is_sorted_and_complete():
    listed = spikeproof.__all__
    assert len(set(listed)) == len(listed)
    public = {
        name
        for name, value in vars(api).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("spikeproof")
    }
    # A room of methods gives all its names; what of it is no method and not listed is for who writes one.
    private = {name for room in (defenses, coding) for name in vars(room) if name not in listed}
    assert public - private == set(listed) - {"bim"}  # bim is a partial, which knows no module
    assert {kind.__name__ for kind in (*defenses.DEFENSES.values(), *coding.CODINGS.values())} <= set(listed)
