"""RMP-Loss (Guo et al., ICCV 2023): potentials close to the values of their spikes, for a small quantisation error.

The paper regularises the membrane potential distribution towards 0 and 1 to reduce the quantisation error of firing.
Its formula's details were not available to us, so ours are: the error's power 2 and the coefficient's linear rise. In
the paper's networks the threshold is 0.5 and 1 lies above it; in networks with threshold 1, as SNN-RAT's, the spike's
level 1 is the threshold itself, so that firing neurons are drawn onto it. ``level`` is the value of a spike.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.errors import SpikeproofError
from spikeproof.interop import ForeignSite
from spikeproof.kinds import check_fields
from spikeproof.spiking import QuantisationError, sites

_log = logging.getLogger(__name__)


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class RMPLoss(Defense):
    """L = CE + weight * p * mean over sites of the mean over samples, neurons and steps of |u - level * s|^power,

    at progress p in [0, 1) of training, for the potential u before reset and its spike s.

    Args:
        weight: at the end of training, >= 0.
        power: of the error, >= 1.
        level: the potential that a spike stands for; no spike stands for 0.
        threshold: the sites' own.

    Raises:
        SpikeproofError: a negative weight, a level or threshold that is not positive, or a power below 1; on
            installing, sites with another threshold, or with one that is learned or differs by neuron.

    Example:
        >>> RMPLoss(weight=0.1).label
        'RMP-Loss'

    Source: Guo et al. 2023 (ICCV). Not published in detail: the power and the linear rise of the weight are ours.
    """

    label: ClassVar[str] = "RMP-Loss"

    weight: float = 0.1
    power: float = 2.0
    level: float = 1.0
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise SpikeproofError(f"RMP-Loss needs a weight >= 0, got {self.weight}.")
        self._error()

    @property
    def step_cost(self) -> float:
        return 1.1

    @property
    def needs(self) -> Needs:
        return Needs(cost=self._error())

    def clashes(self, other: Defense) -> str | None:
        """It cannot work with a defense that moves thresholds."""
        if "the thresholds" in other.takes:
            return "RMP-loss reads the potential off the margin, for which thresholds must stand still."
        return None

    def install(self, model: nn.Module) -> None:
        """Refuse sites with another threshold."""
        for name, site in sites(model).items():
            known = site.facts().threshold_is if isinstance(site, ForeignSite) else "one"
            if known == "many" or site.adaptation is not None:
                raise SpikeproofError(
                    f"RMP-Loss reads the potential off the margin, and the threshold at {name} is learned or differs "
                    "by neuron; give neurons with one fixed threshold, or take MPD-SGR, which acts on margins."
                )
            if known == "unknown":
                _log.warning("RMP-Loss takes your own code at %s to fire at %s (its threshold).", name, self.threshold)
            elif site.neuron.threshold != self.threshold:
                raise SpikeproofError(
                    f"RMP-Loss has threshold={self.threshold} and site {name} fires at {site.neuron.threshold}; "
                    f"give RMPLoss(threshold={site.neuron.threshold})."
                )

    def penalty(self, step: Step) -> Float[Tensor, ""]:
        """weight times p times the mean error."""
        errors = [seen.cost_total.mean() / seen.count for seen in step.record.values() if seen.cost_total is not None]
        return self.weight * step.progress * torch.stack(errors).mean()

    def _error(self) -> QuantisationError:
        return QuantisationError(self.threshold, self.level, self.power)
