"""Shapes and types are checked in every test, by jaxtyping and beartype; users do not pay for it."""

import re
from contextlib import contextmanager

import pytest
from jaxtyping import install_import_hook

# Not spiking and gradients: the compiler cannot see through the checks, and their functions are compiled. Not report:
# it reads files that may be wrong in any way and says so itself.
_CHECKED = ("attacks", "audit", "data", "defenses", "insight", "models", "recipes", "threat", "train")
install_import_hook([f"spikeproof.{room}" for room in _CHECKED], "typechecker.check")

from spikeproof.errors import SpikeproofError  # noqa: E402 (the hook must stand before the first import)


@pytest.fixture
def refuses():
    """A context that demands a SpikeproofError of one line which has all the given pieces of text."""

    @contextmanager
    def context(*pieces):
        with pytest.raises(SpikeproofError) as caught:
            yield
        sentence = str(caught.value)
        assert re.fullmatch(r"[^\n]+\.", sentence)
        for piece in pieces:
            assert str(piece) in sentence

    return context
