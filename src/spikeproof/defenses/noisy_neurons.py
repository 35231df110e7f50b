"""NDL, noise-driven learning (Ma et al., Patterns 2023): neurons whose potential is noisy, always.

Deviation: one noise, as the paper describes its neuron. Its code draws two, one for the potential and, on top of it, a
spike with probability Phi(v / sigma), so that the firing decision sees sqrt(2) sigma. The code's half of the potential
that is kept from step to step is ``Neuron(decay=0.5)`` here, and is left to the model. Its surrogate is taken where the
firing decision is made, at the noisy margin, as in the code.
"""

from __future__ import annotations

import dataclasses
import math

from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import Gaussian, sites


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class NDL(Defense):
    """Noise in the potential of every neuron at every step, in training, at inference and under attack::

        u[t] = decay m[t-1] + x[t] + xi,  xi ~ N(0, sigma^2),   s = 1[u >= threshold],   m = (1 - s) u

    so that P(s = 1) = Phi((u - xi - threshold) / sigma); ds/du is the density of N(0, sigma^2) at u - threshold.

    Args:
        sigma: of the noise, > 0, in units of the potential.

    Raises:
        SpikeproofError: a sigma that is not positive; on installing, a model without sites.

    Example:
        >>> NDL(sigma=0.2).label
        'NDL'

    Source: Ma et al. 2023 (Patterns). Deviation: one noise, in the potential; their code draws a second one for the
    spike.
    """

    sigma: float = 0.3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise SpikeproofError(f"NDL's sigma must be positive, got {self.sigma}; leave NDL out for no noise.")

    @property
    def step_cost(self) -> float:
        return 1.4

    def install(self, model: nn.Module) -> None:
        """Give every site the noise and its density as surrogate."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("NDL acts on spiking sites and this model has none.")
        for site in watched.values():
            site.noise_std = self.sigma
            site.noise_at_inference = True
            site.neuron = dataclasses.replace(site.neuron, carries_noise=True, surrogate=Gaussian(self.sigma))

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the firing noise", "the surrogate"})
