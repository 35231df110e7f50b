"""Straight through: what a random coding draws has no slope, so the image gets the frames' gradients as they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.sending import sent


def straight_through(
    images: Float[Tensor, "n c h w"], frames: Float[Tensor, "t n c h w"]
) -> Float[Tensor, "t n c h w"]:
    """The frames, exactly; d frames[t] / d images is said to be the identity at every step t.

    Example:
        >>> images = torch.tensor([[[[0.3]]]], requires_grad=True)
        >>> straight_through(images, torch.ones(4, 1, 1, 1, 1)).sum().backward()
        >>> images.grad.item()
        4.0
    """
    passed: Tensor = _StraightThrough.apply(images, frames)
    return passed


def uniform_draws(images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
    """u ~ U[0, 1) for every step and pixel, by the CPU's generator, as all noise here; float32 for every dtype."""
    return sent(torch.rand(num_steps, *images.shape, dtype=torch.float32, device="cpu"), images.device)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, frames):  # type: ignore[no-untyped-def]  # noqa: ANN001
        return frames.to(images.dtype, copy=True)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        return grad.sum(0), None
