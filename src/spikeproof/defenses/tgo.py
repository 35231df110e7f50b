"""TGO, Threshold Guarding Optimization (ICLR 2026, arXiv 2602.20548): potentials off the threshold, noisy firing.

MC is Eq. 12-13, NLIF the paper's noisy neuron. Not published and therefore ours: delta, sigma, the exact rise of lambda
(a half cosine from 0 to lambda_max), the potential before reset for MC, and noise that moves the firing decision
alone, so that P(s = 1) = Phi((u - threshold) / sigma) as stated while the carried potential stays noise-free.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Hinge, sites


@dataclasses.dataclass(frozen=True, kw_only=True)
class TGO(Defense):
    """L = CE + lambda(p) * sum over sites of C, at progress p in [0, 1) of training::

        C = mean over samples, neurons and steps of max(0, delta - |u - threshold|)         MC
        lambda(p) = lambda_max (1 - cos(pi p)) / 2
        s = 1[u - threshold + xi >= 0],  xi ~ N(0, sigma^2)                                  NLIF

    Args:
        lambda_max: 0 turns MC off; 0.4 for WRN16 and 0.6 for VGG11 in the paper.
        delta: half-width of the guarded band, in units of the potential.
        sigma: standard deviation of the firing noise in training; 0 turns NLIF off.
        noise_at_inference: whether the noise stays on outside training. The paper contradicts itself here; every
            result of ours says which it is, and an audit of a noisy model averages over draws.

    Raises:
        SpikeproofError: a negative weight or noise, a delta that is not positive, or a TGO that does nothing.

    Example:
        >>> TGO(lambda_max=0.6, sigma=0.0).label
        'TGO'
    """

    lambda_max: float = 0.6
    delta: float = 0.5
    sigma: float = 0.2
    noise_at_inference: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.lambda_max, self.sigma)):
            raise SpikeproofError(f"TGO needs lambda_max >= 0 and sigma >= 0, got {self.lambda_max} and {self.sigma}.")
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise SpikeproofError(f"TGO's delta must be positive, got {self.delta}; lambda_max = 0 turns MC off.")
        if self.lambda_max == 0 and self.sigma == 0:
            raise SpikeproofError("A TGO with lambda_max = 0 and sigma = 0 does nothing; leave it out of the list.")

    @property
    def needs(self) -> Needs:
        return Needs(cost=Hinge(self.delta) if self.lambda_max > 0 else None)

    def install(self, model: nn.Module) -> None:
        watched = sites(model)
        if not watched:
            raise SpikeproofError("TGO acts on spiking sites and this model has none.")
        for site in watched.values():
            site.noise_std = self.sigma
            site.noise_at_inference = self.noise_at_inference

    def penalty(self, step: Step) -> Float[Tensor, ""] | None:
        if self.lambda_max == 0:
            return None
        weight = self.lambda_max * (1 - math.cos(math.pi * step.progress)) / 2
        return weight * torch.stack([_mean_cost(seen.cost_total, seen.count) for seen in step.record.values()]).sum()


def _mean_cost(cost_total: Float[Tensor, "t c"] | None, count: int) -> Float[Tensor, ""]:
    assert cost_total is not None  # the training loop records what `needs` names
    return cost_total.mean() / count
