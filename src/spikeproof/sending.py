"""Copies tensors from the host to a GPU without waiting for the GPU."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def sent(made: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Copy a tensor of the host to a device.

    A plain copy to a GPU waits until the GPU has finished all its work. This one is queued behind that work, from
    pinned memory, which PyTorch keeps until it has been read.

    Args:
        made: what the host drew or built.
        device: where it should be.

    Example:
        >>> sent(torch.arange(3), torch.device("cpu"))
        tensor([0, 1, 2])
    """
    if device.type == "cuda" and made.device.type == "cpu" and not torch.compiler.is_compiling():
        made = made.pin_memory()
    return made.to(device, non_blocking=True)
