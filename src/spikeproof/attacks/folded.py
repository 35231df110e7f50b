"""Frames, folded: attacks move images [N,T*C,H,W], and the network gets back the frames [N,T,C,H,W] that they are.

So every attack on images is one on frames. What it calls a pixel is a place of the sensor in all steps, and what it
calls a channel is one step and polarity.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked


class Folded(nn.Module):
    """A network of frames as one of images.

    Args:
        net: takes frames [N,T,C,H,W].
        steps: T.

    Example:
        >>> import torch
        >>> Folded(nn.Flatten(), steps=4)(torch.rand(2, 8, 3, 3)).shape
        torch.Size([2, 72])
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.net = net
        self.steps = steps
        self.training = net.training

    def forward(self, images: Float[Tensor, "n tc h w"]) -> Float[Tensor, "n k"]:
        logits: Tensor = self.net(images.unflatten(1, (self.steps, -1)))
        return logits


def unfolded(attacked: Attacked, steps: int) -> Attacked:
    """What an attack found, with its images as frames.

    Args:
        attacked: of images [N,T*C,H,W].
        steps: T.
    """
    nearest = None if attacked.nearest is None else attacked.nearest.unflatten(1, (steps, -1))
    return dataclasses.replace(attacked, images=attacked.images.unflatten(1, (steps, -1)), nearest=nearest)
