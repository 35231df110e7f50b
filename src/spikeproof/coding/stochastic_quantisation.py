"""Stochastic quantisation encoding (SQE, arXiv 2610.01558): a pixel becomes, at random, one of the two nearest levels.

N = 1 is Poisson coding; for large N it approaches direct coding. Whether the original normalises the
levels is not known to us; here they are fed as they are, as Poisson's spikes are.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.coding.straight_through import straight_through, uniform_draws
from spikeproof.errors import SpikeproofError


@dataclasses.dataclass(frozen=True)
class SQE:
    """s[t] = ceil(x N) / N with probability frac(x N), else floor(x N) / N; backward ds[t]/dx = 1. Not normalised.

    The mean of s[t] is x and its variance frac(x N) (1 - frac(x N)) / N^2 <= 1 / (4 N^2).

    Args:
        levels: N >= 1, how many steps of brightness lie between black and white. The paper takes 2 for CIFAR-10 and 3
            for CIFAR-100.

    Raises:
        SpikeproofError: levels that are not a whole number >= 1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> SQE(levels=2).encode(torch.full((1, 1, 1, 1), 0.7), num_steps=8).flatten()
        tensor([0.5000, 0.5000, 1.0000, 1.0000, 1.0000, 0.5000, 0.5000, 0.5000])

    Source: arXiv 2610.01558; that levels are not normalised is our choice, as said above.
    """

    levels: int = 2

    constant = False
    random = True
    normalised = False

    def __post_init__(self) -> None:
        if not isinstance(self.levels, int) or isinstance(self.levels, bool) or self.levels < 1:
            raise SpikeproofError(
                f"SQE's levels must be a whole number >= 1, got {self.levels}; 1 is Poisson coding, and many levels "
                "approach direct coding."
            )

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """Levels k / N of each step; arguments as in :class:`Coding`."""
        wide = torch.promote_types(images.dtype, torch.float32)
        scaled = images.detach().to(wide) * self.levels
        below = scaled.floor()
        up = uniform_draws(images, num_steps) < scaled - below
        return straight_through(images, (below + up) / self.levels)
