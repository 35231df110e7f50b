"""Signed rate coding (Mukhoty et al. 2025, ICLR): positive spikes for pixels above the mean, negative ones below.

Deviations: the original takes off the mean image of the training set, position by position; here it is a number for
each channel, since a coding is plain numbers. Its backward takes the mean over the steps, which is 1/T of the gradient
here. Neither scales anything: x in [0, 1] less a mean in [0, 1] lies in [-1, 1].
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.coding.straight_through import straight_through, uniform_draws
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.sending import sent


@check_fields
@dataclasses.dataclass(frozen=True)
class SignedRate:
    """s[t] = sign(x - m) 1[u[t] < |x - m|], u ~ U[0, 1) for every step and pixel; backward ds[t]/dx = 1.

    The mean of s[t] is x - m and its variance |x - m| (1 - |x - m|): at m = 1/2 never more than Poisson coding's, and
    nothing for a grey pixel, which varies most there. Not normalised further.

    Args:
        mean: m in [0, 1], one number for each channel of the images, or one for all.

    Raises:
        SpikeproofError: a mean outside [0, 1]; in ``encode``, neither one mean nor as many as the images have channels.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> SignedRate().encode(torch.full((1, 1, 1, 1), 0.1), num_steps=8).flatten()
        tensor([ 0.,  0., -1., -1., -1.,  0.,  0.,  0.])

    Source: Mukhoty et al. 2025 (ICLR); deviations as above.
    """

    mean: tuple[float, ...] = (0.5,)

    constant = False
    random = True
    normalised = False

    def __post_init__(self) -> None:
        if not self.mean or not all(0 <= value <= 1 for value in self.mean):
            raise SpikeproofError(
                f"Each mean of signed rate coding must lie in [0, 1], as pixels do, got {self.mean}; give the means of "
                "the training images."
            )

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """Spikes, -1, 0 or 1, of each step.

        Args:
            images, num_steps: as in :class:`Coding`.

        Raises:
            SpikeproofError: neither one mean nor as many as the images have channels.
        """
        if len(self.mean) not in (1, images.shape[1]):
            raise SpikeproofError(
                f"This signed rate coding has {len(self.mean)} means and the images {images.shape[1]} channels; give "
                "one mean for each channel, or one for all."
            )
        wide = torch.promote_types(images.dtype, torch.float32)
        mean = sent(torch.tensor(self.mean, dtype=wide), images.device).view(-1, 1, 1)
        centred = images.detach().to(wide) - mean
        fires = uniform_draws(images, num_steps) < centred.abs()
        return straight_through(images, torch.where(fires, centred.sign(), 0.0))
