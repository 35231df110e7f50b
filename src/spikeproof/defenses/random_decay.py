"""RandHet-SNN (Wang et al., iScience 2025): the decay of every neuron is drawn anew in every forward.

The abstract says "randomized time decay constants ... at every forward pass"; the distribution is not known to us. Ours
is uniform between two bounds, one draw a neuron and forward, the same for all samples and steps of it.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import sites


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandHet(Defense):
    """u[t] = lambda m[t-1] + x[t],  lambda ~ U(low, high) for each neuron and forward, training, inference and attack.

    Args:
        low, high: bounds of the decay, 0 <= low < high <= 1.

    Raises:
        SpikeproofError: other bounds; on installing, a model without sites.

    Example:
        >>> RandHet(low=0.5).label
        'RandHet'

    Source: Wang et al. 2025 (iScience), from the abstract; the uniform distribution is ours.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise SpikeproofError(f"RandHet needs 0 <= low < high <= 1, got {self.low} and {self.high}.")

    @property
    def step_cost(self) -> float:
        return 1.3

    def install(self, model: nn.Module) -> None:
        """Give every site the bounds."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("RandHet acts on spiking sites and this model has none.")
        for site in watched.values():
            site.random_decay = (self.low, self.high)

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the decays"})

    @property
    def whole_batch(self) -> bool:
        return True  # all samples share a neuron's draw, and each process would make its own
