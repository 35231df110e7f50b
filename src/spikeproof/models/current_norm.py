"""Batch norm of a current outside a site: before a sum that a neuron takes, or where no neuron follows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.spiking import PerStepNorm, Site


class CurrentNorm(nn.Module):
    """A batch norm of any kind, on the merged currents of all T steps: [T*N, C, H, W], or features [T*N, C].

    Where one copy stands for the mean over the steps (``Site.collapsed``), a norm of each step applies all its steps to
    that copy and gives their mean.

    Args:
        norm: of the merged steps, or of each step.
        site: a site of the same network; it says how many steps there are.

    Example:
        >>> from spikeproof.spiking import Neuron
        >>> CurrentNorm(PerStepNorm(8, num_steps=4), Site(Neuron(), num_steps=4))(torch.rand(12, 8)).shape
        torch.Size([12, 8])
    """

    def __init__(self, norm: nn.BatchNorm2d | PerStepNorm, site: Site) -> None:
        super().__init__()
        self.norm = norm
        self._site = (site,)  # in a tuple: as a submodule it would be saved twice

    def forward(self, current: Float[Tensor, "kn c *space"]) -> Float[Tensor, "kn c *space"]:
        """The normalised current, merged as it came; K is T, or 1 for one copy that stands for all steps."""
        (site,) = self._site
        images = current if current.ndim == 4 else current[:, :, None, None]
        if isinstance(self.norm, PerStepNorm):
            normed = self.norm(images, 1 if site.collapsed else site.num_steps)
            if site.collapsed:
                normed = normed.unflatten(0, (site.num_steps, -1)).mean(0)
        else:
            # Channels last for the reason that Site.forward gives.
            normed = self.norm(images.contiguous(memory_format=torch.channels_last))
        return normed.view(current.shape) if current.ndim == 2 else normed
