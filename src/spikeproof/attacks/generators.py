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
    """A generator of random numbers beside torch's: how sentences call it, and how it is seeded and put back."""

    name: str
    seed: Callable[[int], object]
    state: Callable[[], Any]
    restore: Callable[[Any], object]


def generators_of(model: nn.Module) -> list[Generator]:
    """NumPy's and Python's global generators, and those of its own that a network reaches.

    Its own are found on modules and their classes, in containers, closures and the globals that its functions name.

    Example:
        >>> [generator.name for generator in generators_of(nn.Identity())]
        ["NumPy's global generator", "Python's module random"]
    """
    shared = [
        Generator("NumPy's global generator", np.random.seed, np.random.get_state, np.random.set_state),
        Generator("Python's module random", random.seed, random.getstate, random.setstate),
    ]
    return shared + [made for held in _held(model) if (made := _generator(held)) is not None]


@contextlib.contextmanager
def put_back(generators: list[Generator]) -> Iterator[None]:
    """Give every generator the state again that it has now."""
    states = [generator.state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.restore(state)


def _generator(held: Any) -> Generator | None:
    if isinstance(held, torch.Generator):
        if held is torch.default_generator or any(held is each for each in torch.cuda.default_generators):
            return None  # torch's seed fixes these
        return Generator("a torch.Generator of its own", held.manual_seed, held.get_state, held.set_state)
    if isinstance(held, np.random.Generator):
        bits = held.bit_generator
        return Generator(
            "a NumPy generator of its own",
            lambda seed: _set_bits(bits, type(bits)(seed).state),
            lambda: bits.state,
            lambda state: _set_bits(bits, state),
        )
    if isinstance(held, np.random.RandomState):
        return Generator("a NumPy generator of its own", held.seed, held.get_state, held.set_state)
    if held is random.seed.__self__:  # type: ignore[attr-defined]
        return None  # the module's
    if isinstance(held, random.Random) and not isinstance(held, random.SystemRandom):
        return Generator("a random.Random of its own", held.seed, held.getstate, held.setstate)
    return None


def _set_bits(bits: Any, state: Any) -> None:
    bits.state = state


def _held(model: nn.Module) -> list[Any]:
    """All that is reached from a network, and may be a generator."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[Any] = [model]
    while left and len(seen) < _MOST:
        held = left.pop()
        if id(held) in seen or isinstance(held, (Tensor, np.ndarray, str, bytes, int, float, types.ModuleType)):
            continue
        seen.add(id(held))
        if isinstance(held, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
            found.append(held)
        else:
            left.extend(_inside(held))
    return found


def _inside(held: Any) -> list[Any]:
    if isinstance(held, dict):
        return list(held.values())
    if isinstance(held, (list, tuple, set, frozenset)):
        return list(held)
    if isinstance(held, types.FunctionType | type) and _root(held) in _LIBRARIES:
        return []
    if isinstance(held, types.FunctionType):
        cells = [cell.cell_contents for cell in held.__closure__ or () if _is_filled(cell)]
        named = [held.__globals__[name] for name in _names(held.__code__) if name in held.__globals__]
        return [*cells, *named, held.__defaults__, held.__kwdefaults__]
    if isinstance(held, types.MethodType):
        return [held.__self__, held.__func__]
    if isinstance(held, functools.partial):
        return [held.func, held.args, held.keywords]
    if isinstance(held, (staticmethod, classmethod)):
        return [held.__func__]
    if isinstance(held, property):
        return [held.fget]
    if isinstance(held, type):
        return [*vars(held).values(), *held.__bases__]
    return [type(held), getattr(held, "__dict__", None)]


def _root(held: Any) -> str:
    return str(held.__module__).partition(".")[0]


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
