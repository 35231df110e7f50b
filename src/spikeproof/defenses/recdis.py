"""RecDis-SNN (Guo et al., CVPR 2022): a loss that keeps the membrane potential distribution where the surrogate is.

The paper names three undesired shifts, degeneration, saturation and gradient mismatch, and penalises each by the
distribution's statistics (its MPD-Loss). Its constants were not available to us: the terms here have the form of the
distribution loss for binary networks that it builds on (Ding et al., CVPR 2019), in units of the surrogate's window,
and the bounds are ours. Its aim is accuracy, not robustness, and it pulls against MPD-SGR: a wide and a narrow
distribution are both brought to where most potentials have a gradient.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float

from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import joint_moments


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class RecDis(Defense):
    """L = CE + weight * mean over sites of the mean over channels and steps of D + S + M::

        D = max(0, m^2 - s^2)            degeneration: all potentials on one side of the threshold
        S = max(0, s - widest)^2         saturation: potentials beyond the surrogate, without a gradient
        M = max(0, narrowest - |m| - s)^2    gradient mismatch: all of them where surrogate and spike differ most

    for m = mean / g and s = std / g of the margins u - threshold over samples and positions, g the site's window.

    Args:
        weight: >= 0.
        widest, narrowest: in windows; 0 <= narrowest < widest.

    Raises:
        SpikeproofError: a negative weight, or bounds in the wrong order.

    Example:
        >>> RecDis(weight=0.5).label
        'RecDis'

    Source: Guo et al. 2022 (CVPR), its MPD-Loss. Not published: the constants; form and bounds are ours, after Ding et
    al. 2019 (CVPR).
    """

    weight: float = 0.5
    widest: float = 1.0
    narrowest: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise SpikeproofError(f"RecDis needs a weight >= 0, got {self.weight}.")
        if not (math.isfinite(self.widest) and 0 <= self.narrowest < self.widest):
            raise SpikeproofError(
                f"RecDis needs bounds 0 <= narrowest < widest, got {self.narrowest} and {self.widest}."
            )

    @property
    def step_cost(self) -> float:
        return 1.2

    @property
    def needs(self) -> Needs:
        return Needs(moments=True)

    def penalty(self, step: Step) -> Float[torch.Tensor, ""]:
        """weight times the mean of D + S + M."""
        terms = []
        for seen in step.record.values():
            mean, std = (moment / seen.window for moment in joint_moments([seen]))
            degeneration = (mean**2 - std**2).clamp_min(0)
            saturation = (std - self.widest).clamp_min(0) ** 2
            mismatch = (self.narrowest - mean.abs() - std).clamp_min(0) ** 2
            terms.append((degeneration + saturation + mismatch).mean())
        return self.weight * torch.stack(terms).mean()
