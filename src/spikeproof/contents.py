"""What an object holds, as plain values that JSON knows: to tell whether two objects would do the same.

How an object prints decides nothing: a field may be left out of its ``repr``, or stand in it with an address.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A longer text is told by its hash.
_LONGEST = 200


def contents(value: Any) -> Any:
    """The value as None, truths, numbers, texts, lists and objects; equal ones for what holds the same.

    Tensors, arrays and bytes are told by a hash. Functions are told by name, code and what they have caught; a class by
    its name. An object is told by its class's name and everything that it holds, hidden fields included. Not seen: the
    code of a class, and what an object keeps out of Python's sight.

    Example:
        >>> contents((1, math.inf, {"a": None}))
        [1, 'inf', {'a': None}]
        >>> @dataclasses.dataclass
        ... class Mine:
        ...     weight: float = dataclasses.field(default=0.5, repr=False)
        >>> contents(Mine())
        {'class': 'Mine', 'weight': 0.5}
    """
    return _contents(value, ())


def _contents(value: Any, above: tuple[int, ...]) -> Any:
    plain = _of_a_value(value)
    if plain is not NotImplemented:
        return plain
    if id(value) in above:
        return "itself"
    inner = functools.partial(_contents, above=(*above, id(value)))
    if isinstance(value, Mapping):
        return {_name_of(key, inner): inner(held) for key, held in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((inner(held) for held in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [inner(held) for held in value]
    if callable(value) and not isinstance(value, nn.Module):
        told = _of_a_function(value, inner)
        if told is not None:
            return told
    return {"class": type(value).__name__, **_of_an_object(value, inner)}


def _of_a_value(value: Any) -> Any:
    """Of what has nothing in it that would have to be looked at by itself; NotImplemented for the rest."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:20]}... {_hash(value.encode(errors='surrogatepass'))}"
    if isinstance(value, bytes | bytearray):
        return f"bytes {_hash(bytes(value))}"
    if isinstance(value, Tensor):
        return _of_a_tensor(value)
    if isinstance(value, np.generic | np.ndarray) and value.dtype != object:
        return (
            f"{value.dtype} {list(value.shape)} {_hash(value.tobytes())}" if value.ndim else _of_a_value(value.item())
        )
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, torch.dtype | torch.device | complex | PurePath | range):
        return str(value)
    return NotImplemented


def _of_a_tensor(value: Tensor) -> str:
    said = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.device.type == "meta" or value.layout != torch.strided:
        return said
    whole = value.detach().cpu().contiguous().flatten()
    return f"{said} {_hash(whole.view(torch.uint8).numpy().tobytes())}"


def _of_a_function(value: Any, inner: Any) -> Any:
    """None for an object that can be called and is no function."""
    if isinstance(value, functools.partial):
        return {"of": inner(value.func), "arguments": inner(value.args), "named": inner(value.keywords)}
    if isinstance(value, types.MethodType):
        return {"of": inner(value.__self__), "method": value.__name__}
    if isinstance(value, types.FunctionType):
        caught = [_cell(cell) for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return {"function": value.__name__, "code": _of_code(value.__code__), "holds": inner([caught, defaults])}
    if isinstance(value, types.BuiltinFunctionType | np.ufunc):
        return value.__name__
    return None


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _of_code(code: types.CodeType) -> str:
    return _hash(code.co_code + repr([[_of_a_constant(part) for part in code.co_consts], code.co_names]).encode())


def _of_a_constant(part: Any) -> str:
    if isinstance(part, types.CodeType):
        return _of_code(part)
    return repr(sorted(map(repr, part)) if isinstance(part, frozenset) else part)


def _of_an_object(value: Any, inner: Any) -> dict[str, Any]:
    if isinstance(value, nn.Module):
        state = {name: _of_a_tensor(tensor) for name, tensor in sorted(value.state_dict().items())}
        held = {name: held for name, held in vars(value).items() if not name.startswith("_") and name != "training"}
        return {**_named(held, inner), "parts": {name: inner(part) for name, part in value.named_children()}, **state}
    kind = type(value)
    fields = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    slots = [name for base in kind.__mro__ for name in _listed(getattr(base, "__slots__", ()))]
    held = {name: getattr(value, name) for name in (*fields, *slots) if hasattr(value, name)}
    cached = {name for name in dir(kind) if isinstance(getattr(kind, name, None), functools.cached_property)}
    held |= {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in cached}
    if held or hasattr(value, "__dict__"):
        return _named(held, inner)
    try:  # what pickle would write
        _, *rest = value.__reduce_ex__(2)
    except Exception:  # whatever an object does that cannot be pickled
        return {}
    told = inner([part for part in rest if isinstance(part, tuple | dict)])
    return {"holds": told} if any(told) else {}


def _named(held: Mapping[str, Any], inner: Any) -> dict[str, Any]:
    return {str(name): inner(each) for name, each in held.items()}


def _listed(slots: str | Iterable[str]) -> list[str]:
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _name_of(key: Any, inner: Any) -> str:
    return key if isinstance(key, str) else json.dumps(inner(key))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
