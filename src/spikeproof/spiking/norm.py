"""Batch norm of each step for itself (BNTT, Kim and Panda 2021): its own statistics, scale and shift at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError


class PerStepNorm(nn.Module):
    """T batch norms, one a step. In eval mode as in training, a current that is constant comes out different by step.

    The original leaves out the shifts; here they stay, as in the merged batch norm that it is compared with.

    Raises:
        SpikeproofError: in training, a batch with one value a channel and step.

    Example:
        >>> PerStepNorm(8, num_steps=4)(torch.rand(2, 8, 3, 3), steps=1).shape
        torch.Size([8, 8, 3, 3])
    """

    def __init__(self, channels: int, num_steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_steps))

    def forward(self, current: Float[Tensor, "kn c h w"], steps: int) -> Float[Tensor, "tn c h w"]:
        """``steps`` is how many steps the current holds, merged: T, or 1 for one that is the same at all."""
        parts = current.contiguous(memory_format=torch.channels_last).chunk(steps)
        parts = parts * len(self.steps) if steps == 1 else parts
        if self.training and len(current) and parts[0][:, 0].numel() < 2:
            raise SpikeproofError(
                "Batch norm of each step needs two values a channel and step in training; give a larger batch."
            )
        return torch.cat([norm(part) for norm, part in zip(self.steps, parts, strict=True)])
