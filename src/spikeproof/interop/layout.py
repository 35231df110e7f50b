"""How a tensor holds steps and samples."""

from __future__ import annotations

import enum

import torch
from torch import Tensor


class Layout(enum.Enum):
    """Where a layer's tensors, or a network's outputs, have their T steps and N samples."""

    STEP = "one step [N, ...]"
    TIME_FIRST = "[T, N, ...]"
    SAMPLE_FIRST = "[N, T, ...]"
    MERGED_TIME = "[T*N, ...]"
    MERGED_SAMPLE = "[N*T, ...]"

    def by_step(self, tensor: Tensor, steps: int) -> Tensor:
        """The same as [T, N, ...]; of one step [1, N, ...]."""
        if self is Layout.STEP:
            return tensor[None]
        if self is Layout.TIME_FIRST:
            return tensor
        if self is Layout.SAMPLE_FIRST:
            return tensor.transpose(0, 1)
        if self is Layout.MERGED_TIME:
            return tensor.unflatten(0, (steps, -1))
        return tensor.unflatten(0, (-1, steps)).transpose(0, 1)

    def of_steps(self, by_step: Tensor) -> Tensor:
        """What [T, N, ...] is in this layout; of one step [1, N, ...]."""
        if self is Layout.STEP:
            return by_step[0]
        if self is Layout.TIME_FIRST:
            return by_step
        if self is Layout.SAMPLE_FIRST:
            return by_step.transpose(0, 1)
        return (by_step if self is Layout.MERGED_TIME else by_step.transpose(0, 1)).flatten(0, 1)

    def spread(self, once: Tensor, like: Tensor, steps: int) -> Tensor:
        """What is one value for all steps, [N, ...], so that it multiplies a tensor of this layout."""
        if self is Layout.SAMPLE_FIRST:
            return once.unsqueeze(1)
        if self is Layout.MERGED_TIME:
            return once.repeat(steps, *(1,) * (once.ndim - 1))
        if self is Layout.MERGED_SAMPLE:
            return once.repeat_interleave(steps, 0)
        return once.expand(like.shape[-once.ndim :])


def layout_of(tensor: Tensor, steps: list[Tensor]) -> Layout | None:
    """The layout in which this tensor holds what was seen step by step, by its values; None for none.

    Example:
        >>> seen = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])]
        >>> layout_of(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), seen)
        <Layout.MERGED_TIME: '[T*N, ...]'>
    """
    if len(steps) == 1 and torch.equal(tensor, steps[0]):
        return Layout.STEP
    stacked = torch.stack(steps)
    for layout in (Layout.TIME_FIRST, Layout.SAMPLE_FIRST, Layout.MERGED_TIME, Layout.MERGED_SAMPLE):
        fits = tensor.numel() == stacked.numel() and tensor.ndim == stacked.ndim - ("MERGED" in layout.name)
        if fits and torch.equal(layout.by_step(tensor, len(steps)), stacked):
            return layout
    return None
