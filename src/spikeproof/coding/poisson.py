"""Poisson (rate) coding, as the code of RGA, SR, FEEL and HART has it: each pixel spikes as often as it is bright.

Deviations: HART keeps one draw for a whole run, here every forward draws anew. StoG's backward takes the mean over the
steps, which is 1/T of the gradient here.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from spikeproof.coding.straight_through import straight_through, uniform_draws


@dataclasses.dataclass(frozen=True)
class Poisson:
    """s[t] = 1[x >= u[t]], u ~ U[0, 1) for every step and pixel; backward ds[t]/dx = 1. Not normalised.

    The mean of s[t] is x and its variance x (1 - x).

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> Poisson().encode(torch.full((1, 1, 1, 1), 0.5), num_steps=8).flatten()
        tensor([1., 0., 1., 1., 1., 0., 1., 0.])

    Source: the code of RGA (Bu et al. 2023), SR, FEEL and HART; deviations as above.
    """

    constant = False
    random = True
    normalised = False

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """Spikes, 0 or 1, of each step; arguments as in :class:`Coding`."""
        return straight_through(images, (images.detach() >= uniform_draws(images, num_steps)).float())
