"""Run a pure function of tensors in canonical shapes as its compiled twin, where the machine has a compiler.

On a CPU that is the C++ twin (``native.py``) where there is one, else Inductor's, as on CUDA (``compile.py``).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeproof.spiking.ops import native
from spikeproof.spiking.ops.compile import compiled
from spikeproof.spiking.ops.kernel_folder import compiler_available, warn_without_compiler
from spikeproof.spiking.ops.noise import Tape

# What the dimensions of a tensor in canonical shape are, by their number: time, samples, positions (or rows and
# columns, before and after pooling), channels. Decay and gain have no samples.
_AXES = {0: "", 1: "c", 2: "tc", 3: "tpc", 4: "tnpc", 5: "tnyxc", 6: "ty2x2c", 7: "tny2x2c"}
_TAPE_AXES = "l"
# Sizes that stand for any size while a kernel is traced; all different, so that the tracer takes no two for equal.
_STAND_INS = {"n": 37, "p": 29, "y": 11, "x": 13, "c": 40, "l": 2**18}

_kernels: dict[Hashable, Callable[..., Sequence[Tensor]]] = {}


def run(function: Callable[..., Any], setting: Hashable, *arguments: Any) -> list[Tensor]:
    """``function(setting, *arguments)`` as its compiled twin, where the machine has a compiler.

    Args:
        function: of ``ops/drive.py``.
        setting: its first argument; its repr states all that is fixed.
        arguments: tensors, tapes, None, and (named) tuples of these, in canonical shapes: time first, channels last,
            samples and positions between them (see ``ops/fused.py``).

    Returns:
        The function's tensors, without those that are None.
    """
    by_hand = native.run(function, setting, *arguments)
    if by_hand is not None:
        return by_hand
    tensors: list[Tensor] = []
    axes: list[str] = []
    form = _take_apart(arguments, tensors, axes)
    device = tensors[0].device
    if (device.type == "cpu" and native.failed()) or any(tensor.numel() == 0 for tensor in tensors):
        return _plain(function, setting, form, tensors)
    sizes = tuple(_kept_sizes(tensor, named) for tensor, named in zip(tensors, axes, strict=True))
    key = (function, setting, form, sizes, tuple(tensor.dtype for tensor in tensors), device)
    kernel = _kernels.get(key)
    if kernel is None:
        if not compiler_available(device):
            warn_without_compiler(device)
            return _plain(function, setting, form, tensors)
        kernel = _kernels[key] = _build(function, setting, form, tensors, axes)
    return list(kernel(*tensors))


def _take_apart(argument: Any, tensors: list[Tensor], axes: list[str]) -> Hashable:
    """Put the tensors of a nest of tuples in a row, and say how they were nested."""
    if argument is None:
        return None
    if isinstance(argument, Tensor):
        tensors.append(argument)
        axes.append(_AXES[argument.ndim])
        return Tensor
    if isinstance(argument, Tape):
        tensors.append(argument.normals)
        axes.append(_TAPE_AXES)
        return Tape
    return (type(argument), *(_take_apart(part, tensors, axes) for part in argument))


def _put_together(form: Any, tensors: Iterator[Tensor]) -> Any:
    """Undo ``_take_apart``."""
    if form is None:
        return None
    if form is Tensor:
        return next(tensors)
    if form is Tape:
        return Tape(next(tensors))
    kind, *parts = form
    rebuilt = [_put_together(part, tensors) for part in parts]
    return tuple(rebuilt) if kind is tuple else kind(*rebuilt)


def _plain(function: Callable[..., Any], setting: Hashable, form: Hashable, tensors: Sequence[Tensor]) -> list[Tensor]:
    outputs = function(setting, *_put_together(form, iter(tensors)))
    return [part for part in ((outputs,) if isinstance(outputs, Tensor) else outputs) if part is not None]


def _build(
    function: Callable[..., Any], setting: Hashable, form: Hashable, tensors: Sequence[Tensor], axes: Sequence[str]
) -> Callable[..., Sequence[Tensor]]:
    def of_tensors(*parts: Tensor) -> list[Tensor]:
        return _plain(function, setting, form, parts)

    kept = [_kept_sizes(tensor, named) for tensor, named in zip(tensors, axes, strict=True)]
    # Zeros: nothing is computed with them, only traced.
    examples = [
        torch.zeros(
            [size or _STAND_INS[axis] for size, axis in zip(sizes, named, strict=True)],
            dtype=tensor.dtype,
            device=tensor.device,
        )
        for tensor, sizes, named in zip(tensors, kept, axes, strict=True)
    ]
    static = [[dim for dim, size in enumerate(sizes) if size] for sizes in kept]
    key = repr((function.__module__, function.__qualname__, _file_digest(function), setting, form))
    return compiled(of_tensors, key, examples, static)


def _kept_sizes(tensor: Tensor, axes: str) -> tuple[int, ...]:
    """Of each dimension its size, where a kernel is made for that size alone, or 0 where it serves any.

    Kept: time, the 2s of a pooling, and a 1 in a decay or gain that holds for every position or channel.
    """
    return tuple(
        size if axis in "t2" or (size == 1 and axes[:1] == "t" and "n" not in axes) else 0
        for size, axis in zip(tensor.shape, axes, strict=True)
    )


@functools.cache
def _file_digest(function: Callable[..., Any]) -> str:
    """The file a function stands in, hashed: an edit makes new kernels."""
    return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
