"""What a network's forward computes, counted without computing it."""

from __future__ import annotations

import functools

import torch
from torch import nn

from spikeproof.models.create import create_model


@functools.cache
def multiply_accumulates(
    name: str, *, num_classes: int, num_steps: int, width: float, image_size: int, in_channels: int = 3
) -> float:
    """Multiply-accumulates of one image through all T steps, on tensors without contents.

    Args:
        name, num_classes, num_steps, width, image_size, in_channels: as :func:`spikeproof.models.create_model` takes
            them.

    Returns:
        Those of the convolutions and linear layers; the first convolution is counted in every step.

    Raises:
        SpikeproofError: an unknown name or an impossible size.

    Example:
        >>> multiply_accumulates("conv", num_classes=10, num_steps=1, width=1.0, image_size=8, in_channels=1)
        100608.0
    """
    with torch.device("meta"):
        model = create_model(
            name, num_classes=num_classes, num_steps=1, width=width, image_size=image_size, in_channels=in_channels
        )
        counted = 0.0

        def count(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            nonlocal counted
            assert isinstance(module, (nn.Conv2d, nn.Linear))
            counted += output[0].numel() * module.weight[0].numel()

        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(count)
        model.eval()(torch.zeros(1, in_channels, image_size, image_size))
    return counted * num_steps
