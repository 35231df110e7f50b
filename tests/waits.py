"""Where code would wait for a GPU, found without one: on the CPU, with some tensors that count as lying on the device.

What is computed from such a tensor lies on the device too. A value or a shape that Python must know of it is a wait,
and so is a plain copy between the device and the host. ``torch.cuda.set_sync_debug_mode`` says the same where a GPU is.
"""

from __future__ import annotations

import collections
import traceback
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_PACKAGE = Path(__file__).resolve().parent.parent / "src" / "spikeproof"
_aten = torch.ops.aten
_ASKS = {
    _aten._local_scalar_dense.default,
    _aten.is_nonzero.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.repeat_interleave.Tensor,
    _aten.equal.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.bincount.default,
}
_INDEXING = {
    *(_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default),
    *(_aten._index_put_impl_.default, _aten._unsafe_index.Tensor),
}
# What Python does to a tensor without an operation that a dispatch mode would see.
_READS = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__}
_MAKERS = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}


class Waits:
    """A context that notes what waits, as ``{"attacks/pursuit.py offer": 3}`` in ``found``.

    Args:
        device: tensors, or modules whose parameters and buffers are, that count as the device's.
    """

    def __init__(self, *device: torch.Tensor | nn.Module) -> None:
        self.found: collections.Counter[str] = collections.Counter()
        self._storages: dict[int, torch.UntypedStorage] = {}  # kept, so that no address is used twice
        for held in device:
            for tensor in [held] if isinstance(held, torch.Tensor) else [*held.parameters(), *held.buffers()]:
                self.add(tensor)
        self._modes = (_Asked(self), _Copied(self))

    def __enter__(self) -> Waits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def add(self, tensor: torch.Tensor) -> None:
        if tensor.numel():
            self._storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    def holds(self, *given) -> bool:
        return any(
            isinstance(leaf, torch.Tensor) and leaf.numel() and leaf.untyped_storage().data_ptr() in self._storages
            for leaf in tree_leaves(given)
        )

    def note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(str(_PACKAGE))]
        where = f"{Path(frames[-1].filename).relative_to(_PACKAGE)} {frames[-1].name}" if frames else "outside"
        self.found[f"{where}: {what}"] += 1


class _Asked(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        on_device = self.waits.holds(args, kwargs)
        if on_device and func in _ASKS:
            self.waits.note(str(func))
        if func in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            if on_device and any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.waits.note(f"{func} with a mask")
            elif self.waits.holds(args[0]) and any(index.numel() and not self.waits.holds(index) for index in indices):
                self.waits.note(f"{func} with the host's index")
        found = func(*args, **kwargs)
        if on_device:
            for leaf in tree_leaves(found):
                if isinstance(leaf, torch.Tensor):
                    self.waits.add(leaf)
        return found


class _Copied(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _READS and self.waits.holds(args[0]):
            self.waits.note(func.__name__)
        elif (func in _MAKERS and kwargs.get("device") is not None) or (
            func is torch.Tensor.new_tensor and self.waits.holds(args[0])
        ):
            self.waits.note(f"{func.__name__} on a device")
        elif func is torch.Tensor.to and not self.waits.holds(args[0]):
            rest = [*args[1:], *kwargs.values()]
            goes = any(isinstance(part, torch.device | str) or self.waits.holds(part) for part in rest)
            if goes and not kwargs.get("non_blocking"):
                self.waits.note("a plain copy to a device")
        found = func(*args, **kwargs)
        moved = func is torch.Tensor.to and any(isinstance(part, torch.device | str) for part in args[1:])
        made = isinstance(kwargs.get("device"), torch.device) and kwargs.get("generator") is None  # "cpu" is the host
        if isinstance(found, torch.Tensor) and (moved or (made and func not in _READS)):
            self.waits.add(found)
        return found
