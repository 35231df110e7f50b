"""InfLoR-SNN (Guo et al., ECCV 2022, arXiv 2307.04356): a soft reset, and a rectifier before the step function.

It is no loss: both parts change the neuron. The soft reset keeps what a potential has above the threshold. The membrane
potential rectifier brings potentials "to a range close to the spikes" before they are quantised. MPD-SGR's paper names
it as a method that shapes the potentials' distribution; its own aim is accuracy.

Only the abstract was available to us. Not checked against the paper and therefore ours: the rectifier's formula; that
only the step function uses the rectified potential, while the carried one stays as it is; and the threshold in the
middle between the levels of no spike and of a spike, 0 and 2 threshold, as in the paper's networks of threshold 0.5.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import RectifiedTriangle, Triangle, sites


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfLoR(Defense):
    """Neurons with a soft reset that fire by a rectified potential::

        s[t] = 1[f(u[t]) >= threshold],   m[t] = u[t] - threshold s[t]
        f(u) = 2 threshold g(u / (2 threshold))
        g(x) = 1/2 + tanh(3 (x - 1/2)) / (2 tanh(3/2)) for 0 <= x <= 1,  1 - (1 - x)^(1/3) below,  x^(1/3) above

    f rises and leaves the threshold where it is, so it changes no spike and costs nothing at inference. It changes the
    backward: ds/du = h(f(u) - threshold) f'(u), 1.66 times as steep at the threshold, flat near 0 and 2 threshold.

    Raises:
        SpikeproofError: on installing, a model without sites, or sites whose surrogate is not a triangle.

    Example:
        >>> InfLoR().label
        'InfLoR'

    Source: Guo et al. 2022 (ECCV, arXiv 2307.04356), from the abstract; f and its place are ours (see the module).
    """

    @property
    def step_cost(self) -> float:
        return 1.05

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the surrogate"})

    def install(self, model: nn.Module) -> None:
        """Give every site a soft reset and the rectified triangle."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("InfLoR acts on spiking sites and this model has none.")
        for name, site in watched.items():
            own = site.neuron.surrogate
            if not isinstance(own, Triangle | RectifiedTriangle):
                raise SpikeproofError(
                    f"InfLoR needs a triangle as surrogate, and site {name} has {own}; give the network triangles."
                )
            rectified = RectifiedTriangle(own.gamma, site.neuron.threshold)
            site.neuron = dataclasses.replace(site.neuron, reset="soft", surrogate=rectified)
