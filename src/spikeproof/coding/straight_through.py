"""Straight through: random draws have no slope, so the image gets the frames' gradients as they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.sending import sent


def straight_through(
    images: Float[Tensor, "n c h w"], frames: Float[Tensor, "t n c h w"]
) -> Float[Tensor, "t n c h w"]:
    """The frames exactly, with d frames[t] / d images defined as the identity at every step t.

    Args:
        images: x; it gets the sum of the frames' gradients over the steps.
        frames: what was drawn; no gradient goes through it.

    Returns:
        A copy of the frames in the images' dtype.

    Example:
        >>> images = torch.tensor([[[[0.3]]]], requires_grad=True)
        >>> straight_through(images, torch.ones(4, 1, 1, 1, 1)).sum().backward()
        >>> images.grad.item()
        4.0
    """
    passed: Tensor = _StraightThrough.apply(images, frames)
    return passed


def uniform_draws(images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
    """u ~ U[0, 1) for every step and pixel, by the CPU's generator, as all noise here; float32 for every dtype.

    Args:
        images: give shape and device.
        num_steps: T.
    """
    return sent(torch.rand(num_steps, *images.shape, dtype=torch.float32, device="cpu"), images.device)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, frames):  # type: ignore[no-untyped-def]  # noqa: ANN001
        return frames.to(images.dtype, copy=True)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        return grad.sum(0), None
