"""LSG, learnable surrogate gradient (Lian et al., IJCAI 2023): the surrogate's width follows the potentials' spread.

With currents normalised to N(0, threshold^2), a decay beta spreads the potential to about threshold sqrt(1 + beta^2); a
rectangle that wide keeps the same share of potentials under it. beta is learned, one a layer, and the width follows.
Deviations: beta is kept in its bounds by clamping, not by a sigmoid; the width is of whatever surrogate the neuron has.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.defenses.surrogate_width import give_sharpness
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import Site, sites


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class LSG(Defense):
    """u[t] = beta m[t-1] + x[t] with a beta that each site learns, and a surrogate of half-width (window)::

        threshold sqrt(1 + beta^2)

    beta stays within [0, 1] and has no weight decay. Its gradient is that of the potential; the width takes beta for
    fixed, as in the paper.

    Args:
        start: beta at the beginning; 0.2 in the paper. A network that has learned one a site goes on with it.

    Raises:
        SpikeproofError: a start outside [0, 1]; on installing, a model without sites, or sites whose decay is random or
            not one a site.

    Example:
        >>> LSG(start=0.2).label
        'LSG'

    Source: Lian et al. 2023 (IJCAI). Deviations: beta is clamped to its bounds instead of squashed; any surrogate
    serves.
    """

    start: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise SpikeproofError(f"LSG's decay must start in [0, 1], got {self.start}.")

    @property
    def step_cost(self) -> float:
        return 1.1

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the decays", "the surrogate"})

    @torch.no_grad()
    def install(self, model: nn.Module) -> None:
        """Give every site a decay that learns, and a sharpness that follows it."""
        for name, site in give_sharpness("LSG", model, 1.0, learned=False).items():
            if site.random_decay is not None:
                raise SpikeproofError(
                    f"LSG learns the decay of every site, and {name} draws its own at random; give another network."
                )
            assert site.sharpness is not None
            if site.decay is None:
                site.decay = nn.Parameter(torch.full_like(site.sharpness, self.start))
            elif site.decay.shape != (1, 1):
                raise SpikeproofError(
                    f"LSG learns one decay a site, and {name} has {site.decay.numel()} of another defense; give "
                    "another network."
                )
            _follow(site)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The decays, without weight decay."""
        return [{"params": [site.decay for site in sites(model).values()], "weight_decay": 0.0}]

    @torch.no_grad()
    def after_step(self, model: nn.Module, seed: int) -> None:
        """Keep beta in [0, 1], and let the widths follow."""
        for site in sites(model).values():
            assert site.decay is not None  # installed before
            if site.decay.requires_grad:
                site.decay.clamp_(0, 1)
            _follow(site)


def _follow(site: Site) -> None:
    """Give the surrogate the width that the decay asks for; on the device, where the decay is."""
    assert site.decay is not None and site.sharpness is not None  # installed before
    decay = site.decay.double()
    wide = site.neuron.threshold * (1 + decay * decay).sqrt()
    site.sharpness.copy_(torch.full_like(wide, site.neuron.surrogate.window) / wide)
