"""The fused op: ``torch.compile`` of the reference, so there is one set of equations and one elementwise pass.

Where the machine has no compiler the reference runs instead, with one warning.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch

# One kernel for each (surrogate, statistics, noise, dtype, grad mode): a training run with an audit needs about twenty.
_MOST_KERNELS = 128


def compiler_available(device: torch.device) -> bool:
    """Whether ``torch.compile`` can build kernels for this device here (a C++ compiler, or Triton on CUDA)."""
    if device.type == "cpu":
        named = os.environ.get("CXX")
        return any(shutil.which(candidate) for candidate in ([named] if named else ["g++", "clang++"]))
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _warn_once(device_type: str) -> None:
    warnings.warn(
        f"No compiler for {device_type} was found, so the reference kernels run instead of the fused ones: the same "
        "numbers, slower. Install g++ (CPU) or triton (CUDA) to mend this.",
        RuntimeWarning,
        stacklevel=3,
    )


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled twin of a pure function of tensors; the function itself where nothing can be compiled.

    The first tensor argument decides the device. Shapes are dynamic: one kernel serves every layer.
    """

    @functools.cache
    def compiled() -> Callable[..., Any]:
        # Not at import: this loads the compiler, which takes a second and has deprecation warnings of its own.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.compile(function, dynamic=True)

    @functools.wraps(function)
    def call(first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not compiler_available(first.device):
            _warn_once(first.device.type)
            return function(first, *args, **kwargs)
        limits = {"recompile_limit": _MOST_KERNELS, "accumulated_recompile_limit": 4 * _MOST_KERNELS}
        with torch._dynamo.config.patch(limits), warnings.catch_warnings():
            # All of them are the compiler talking to itself (of .grad of non-leaves, of how it reads a Function).
            warnings.simplefilter("ignore")
            return compiled()(first, *args, **kwargs)

    return call
