"""Where a network may draw random numbers that torch's seed does not fix."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Things looked at in search of generators; a network that holds more is one that nobody wrote by hand.
_MOST = 100_000
# Whose code is not followed: it draws from the generators that are known, or from those that it is handed.
_LIBRARIES = {*sys.stdlib_module_names, "beartype", "jaxtyping", "numpy", "spikeproof", "torch"}


@dataclasses.dataclass(frozen=True, eq=False)
class Generator:
    """A generator of random numbers beside torch's.

    Attributes:
        name: how messages call it.
        seed: seeds it with a whole number.
        state, restore: read its state, and set it again.
    """

    name: str
    seed: Callable[[int], object]
    state: Callable[[], Any]
    restore: Callable[[Any], object]


def generators_of(model: nn.Module) -> list[Generator]:
    """NumPy's and Python's global generators, and those that a network owns.

    Its own are found on modules and their classes, in containers, closures and the globals that its functions name.

    Args:
        model: any network.

    Example:
        >>> [generator.name for generator in generators_of(nn.Identity())]
        ["NumPy's global generator", "Python's module random"]
    """
    shared = [
        Generator("NumPy's global generator", np.random.seed, np.random.get_state, np.random.set_state),
        Generator("Python's module random", random.seed, random.getstate, random.setstate),
    ]
    return shared + [own for thing in _reached(model) if (own := _generator(thing)) is not None]


@contextlib.contextmanager
def put_back(generators: list[Generator]) -> Iterator[None]:
    """Give every generator its present state again at the end, exception or not.

    Args:
        generators: what :func:`generators_of` found.
    """
    states = [generator.state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.restore(state)


def _generator(thing: Any) -> Generator | None:
    if isinstance(thing, torch.Generator):
        if thing is torch.default_generator or any(thing is each for each in torch.cuda.default_generators):
            return None  # torch's seed fixes these
        return Generator("a torch.Generator of its own", thing.manual_seed, thing.get_state, thing.set_state)
    if isinstance(thing, np.random.Generator):
        bits = thing.bit_generator
        return Generator(
            "a NumPy generator of its own",
            lambda seed: _set_bits(bits, type(bits)(seed).state),
            lambda: bits.state,
            lambda state: _set_bits(bits, state),
        )
    if isinstance(thing, np.random.RandomState):
        return Generator("a NumPy generator of its own", thing.seed, thing.get_state, thing.set_state)
    if thing is random.seed.__self__:  # type: ignore[attr-defined]
        return None  # the module's
    if isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
        return Generator("a random.Random of its own", thing.seed, thing.getstate, thing.setstate)
    return None


def _set_bits(bits: Any, state: Any) -> None:
    bits.state = state


def _reached(model: nn.Module) -> list[Any]:
    """All that is reached from a network, and may be a generator."""
    generators: list[Any] = []
    seen: set[int] = set()
    pending: list[Any] = [model]
    while pending and len(seen) < _MOST:
        thing = pending.pop()
        if id(thing) in seen or isinstance(thing, (Tensor, np.ndarray, str, bytes, int, float, types.ModuleType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
            generators.append(thing)
        else:
            pending.extend(_inside(thing))
    return generators


def _inside(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)
    if isinstance(thing, types.FunctionType | type) and _root(thing) in _LIBRARIES:
        return []
    if isinstance(thing, types.FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
        named = [thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__]
        return [*cells, *named, thing.__defaults__, thing.__kwdefaults__]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, (staticmethod, classmethod)):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget]
    if isinstance(thing, type):
        return [*vars(thing).values(), *thing.__bases__]
    return [type(thing), getattr(thing, "__dict__", None)]


def _root(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> set[str]:
    """The names that a function and those inside it ask for."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*(_names(each) for each in inner))
