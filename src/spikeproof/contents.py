"""The contents of an object as plain values that JSON can hold, to see whether two objects would do the same.

The ``repr`` of an object cannot serve for this: it may leave out a field, or contain an address.
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

# Of a longer text the hash is taken.
_LONGEST = 200


def contents(value: Any) -> Any:
    """Describe a value by None, bools, numbers, texts, lists and dicts: equal ones for equal contents.

    Of tensors, arrays and bytes a hash is taken. A function is described by its name, its code and the variables that
    it has captured, a class by its name, and an object by its class's name and all its fields, hidden ones included.
    Not seen are the code of a class, and what an object keeps outside Python (in C).

    Args:
        value: anything.

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
        return {_name_of(key, inner): inner(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((inner(item) for item in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if callable(value) and not isinstance(value, nn.Module):
        function = _of_a_function(value, inner)
        if function is not None:
            return function
    return {"class": type(value).__name__, **_of_an_object(value, inner)}


def _of_a_value(value: Any) -> Any:
    """The description of a value without items or fields; NotImplemented for other values."""
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
    kind = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.device.type == "meta" or value.layout != torch.strided:
        return kind
    whole = value.detach().cpu().contiguous().flatten()
    return f"{kind} {_hash(whole.view(torch.uint8).numpy().tobytes())}"


def _of_a_function(value: Any, inner: Any) -> Any:
    """The description of a function; None for another object that can be called."""
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
    except ValueError:  # a variable that has no value yet
        return None


def _of_code(code: types.CodeType) -> str:
    return _hash(code.co_code + repr([[*map(_of_a_constant, code.co_consts)], code.co_names]).encode())


def _of_a_constant(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return _of_code(constant)
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _of_an_object(value: Any, inner: Any) -> dict[str, Any]:
    if isinstance(value, nn.Module):
        state = {name: _of_a_tensor(tensor) for name, tensor in sorted(value.state_dict().items())}
        own = {name: each for name, each in vars(value).items() if not name.startswith("_") and name != "training"}
        return {**_named(own, inner), "parts": {name: inner(child) for name, child in value.named_children()}, **state}
    kind = type(value)
    fields = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    slots = [name for base in kind.__mro__ for name in _listed(getattr(base, "__slots__", ()))]
    values = {name: getattr(value, name) for name in (*fields, *slots) if hasattr(value, name)}
    cached = {name for name in dir(kind) if isinstance(getattr(kind, name, None), functools.cached_property)}
    values |= {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in cached}
    if values or hasattr(value, "__dict__"):
        return _named(values, inner)
    try:  # what pickle would write
        _, *rest = value.__reduce_ex__(2)
    except Exception:  # objects that cannot be pickled raise errors of many kinds
        return {}
    pickled = inner([each for each in rest if isinstance(each, tuple | dict)])
    return {"holds": pickled} if any(pickled) else {}


def _named(values: Mapping[str, Any], inner: Any) -> dict[str, Any]:
    return {str(name): inner(each) for name, each in values.items()}


def _listed(slots: str | Iterable[str]) -> list[str]:
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _name_of(key: Any, inner: Any) -> str:
    return key if isinstance(key, str) else json.dumps(inner(key))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
