"""Randomized smoothing coding (RSC), after RSC-SNN (Wu et al. 2024, ACM MM): Gaussian noise on the image at every step.

The paper gives no code and says only "Gaussian noise on the SNN input". Our own definition takes it at its least: fresh
noise for each step, before normalisation, in training, at inference and under attack alike. It is not clipped, so the
mean of the frames is the image. Its training scheme (E-RSCT: distillation from an ordinary network)
is no part of the coding.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.sending import sent


@check_fields
@dataclasses.dataclass(frozen=True)
class RSC:
    """x[t] = x + n[t], n ~ N(0, sigma^2) for every step and pixel; normalised afterwards.

    Args:
        sigma: the noise's standard deviation, > 0, in pixel units (black 0, white 1).

    Raises:
        SpikeproofError: sigma is not a positive number.

    Example:
        >>> RSC(sigma=0.1).encode(torch.rand(2, 3, 4, 4), num_steps=8).shape
        torch.Size([8, 2, 3, 4, 4])

    Source: Wu et al. 2024 (ACM MM, RSC-SNN); the noise's place and range are ours, as said above.
    """

    sigma: float = 0.1

    constant = False
    random = True
    normalised = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise SpikeproofError(f"RSC's sigma must be a positive number, got {self.sigma}; without noise use direct.")

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """The noisy image of each step, not clipped; arguments as in :class:`Coding`."""
        # By the CPU's generator, as all noise here; float32 for every dtype.
        normals = sent(torch.randn(num_steps, *images.shape, dtype=torch.float32, device="cpu"), images.device)
        return (images + self.sigma * normals).to(images.dtype)
