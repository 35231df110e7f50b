"""From the host to a GPU without waiting for it."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def sent(made: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """What the host drew or built, on a device.

    A plain copy to a GPU waits for all that the GPU has still to do. This one is queued behind it, from pinned memory,
    which PyTorch keeps until it has been read.

    Example:
        >>> sent(torch.arange(3), torch.device("cpu"))
        tensor([0, 1, 2])
    """
    if device.type == "cuda" and made.device.type == "cpu" and not torch.compiler.is_compiling():
        made = made.pin_memory()
    return made.to(device, non_blocking=True)
