"""Batch norms of currents: one for each step, and one over a batch that several processes share."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.errors import SpikeproofError


class Across(Protocol):
    """Counts, sums and moments over a batch that several processes share. All processes make the same calls."""

    def count(self, own: int) -> int:
        """How many values all processes have.

        Args:
            own: how many this process has. Every image has equally many.
        """
        ...

    def sum(self, part: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum of all processes' parts; differentiable.

        Args:
            part: of this process. Its gradient is the sum of the gradients that the processes have.
        """
        ...

    def moments(
        self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and (biased) variance of all processes' values; differentiable.

        Args:
            mean, variance: of this process's values, per channel.
        """
        ...


class PerStepNorm(nn.Module):
    """T batch norms, one a step (BNTT, Kim and Panda 2021): own statistics, scale and shift at every step.

    In eval mode as in training, a current that is constant comes out different by step. The original leaves out the
    shifts; here they stay, as in the merged batch norm that it is compared with.

    Args:
        channels: C.
        num_steps: T, the number of norms.

    Attributes:
        across: the other processes that share the batch; None outside :func:`spikeproof.spiking.joined.joined`.

    Raises:
        SpikeproofError: in training, a batch with one value a channel and step.

    Example:
        >>> PerStepNorm(8, num_steps=4)(torch.rand(2, 8, 3, 3), steps=1).shape
        torch.Size([8, 8, 3, 3])
    """

    def __init__(self, channels: int, num_steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_steps))
        self.across: Across | None = None

    def forward(self, current: Float[Tensor, "kn c h w"], steps: int) -> Float[Tensor, "tn c h w"]:
        """Each step by its own norm: [T*N, C, H, W], time first.

        Args:
            current: merged steps and samples, time first.
            steps: how many steps it holds: T, or 1 for a current that is the same at every step.

        Raises:
            SpikeproofError: in training, a batch with one value a channel and step.
        """
        parts = current.contiguous(memory_format=torch.channels_last).unflatten(0, (steps, -1)).unbind()
        parts = parts * len(self.steps) if steps == 1 else parts
        if self.training and current.shape[0] and self.across is None and parts[0][:, 0].numel() < 2:
            raise SpikeproofError(
                "Batch norm of each step needs two values a channel and step in training; give a larger batch."
            )
        return torch.cat([norm(part) for norm, part in zip(self.steps, parts, strict=True)])


def joint_batch_norm(norm: _BatchNorm, across: Across, current: Float[Tensor, "n c *space"]) -> Tensor:
    """What ``norm`` makes of this process's part of a batch; in training by the statistics of the whole batch.

    In eval mode nothing is exchanged.

    Args:
        norm: its running statistics are moved in training.
        across: sums and moments over the processes.
        current: this process's part.
    """
    if not norm.training:
        return type(norm).forward(norm, current)
    wide = current.to(torch.promote_types(current.dtype, torch.float32))
    every = [0, *range(2, current.ndim)]
    variance, mean = torch.var_mean(wide, every, correction=0)
    mean, variance = across.moments(mean, variance)
    if norm.track_running_stats:
        track(norm, mean.detach(), variance.detach(), across.count(current[:, 0].numel()))
    shape = (-1, *[1] * (current.ndim - 2))
    scale = (variance + norm.eps).rsqrt() if norm.weight is None else norm.weight * (variance + norm.eps).rsqrt()
    normed = (wide - mean.view(shape)) * scale.view(shape)
    if norm.bias is not None:
        normed = normed + norm.bias.view(shape)
    return normed.to(current.dtype)


@torch.no_grad()
def track(norm: _BatchNorm, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"], count: int) -> None:
    """Move the running statistics as torch's batch norm does, with the unbiased variance.

    Args:
        norm: has running statistics and a momentum.
        mean: of the batch.
        variance: of the batch, biased.
        count: how many values of a channel the batch has.
    """
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    assert norm.momentum is not None  # None would ask for a mean over all batches
    unbiased = variance * (count / max(count - 1, 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
    norm.num_batches_tracked.add_(1)
