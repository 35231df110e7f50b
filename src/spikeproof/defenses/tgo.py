"""TGO, Threshold Guarding Optimization (ICLR 2026, arXiv 2602.20548): potentials off the threshold, noisy firing.

MC is Eq. 12-13, NLIF the paper's noisy neuron. Not published and therefore ours: delta, sigma, the exact rise of lambda
(a half cosine from 0 to lambda_max), the potential before reset for MC, and where the noise acts. By default it moves
the firing decision alone, so that P(s = 1) = Phi((u - threshold) / sigma) as stated while the carried potential stays
noise-free. The paper says that noise is injected into the potential, so there is also that. Its text calls its linear
penalty quadratic, so both can be chosen. The widths "spread" and "attack" are ours: a larger batch-norm gain alone
moves potentials out of a band of fixed width; these follow the network.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.attack_width import AttackWidth
from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.defenses.normal_hinge import normal_hinge
from spikeproof.defenses.which_sites import CHANNELS, Dose, Which, check_which, chosen
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import Hinge, joint_moments, sites
from spikeproof.threat import Eps, parse_eps

_CHOICES = {
    "sites": ("normed", "all"),
    "dose": ("mean", "channel"),
    "hinge": ("linear", "quadratic"),
    "potential": ("before-reset", "after-reset"),
    "noise": ("decision", "potential"),
    "width": ("fixed", "spread", "attack"),
}
# The least scale, in units of the potential: without it a channel that no attack moves would have a scale of 0.
_LEAST_SCALE = 1e-3


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class TGO(Defense):
    """L = CE + lambda(p) * sum over sites of C, at progress p in [0, 1) of training::

        C = mean over samples, neurons and steps of max(0, delta - |v| / scale)^power       MC, v = u - threshold
        lambda(p) = lambda_max (1 - cos(pi p)) / 2
        s = 1[v + xi >= 0],  xi ~ N(0, sigma^2)                                             NLIF
        or, with noise="potential":  u[t] = decay m[t-1] + x[t] + xi,  s = 1[v >= 0]

    By ``width`` the scale is 1 ("fixed", the paper's); the standard deviation of v, by step and channel ("spread"),
    which makes C and its gradient blind to a common factor of gain and threshold; or the root mean square of the change
    that FGSM causes in the channel's v ("attack", see :mod:`spikeproof.defenses.attack_width`; fixed in each step). In
    the last two C is the expectation for v normal with the measured mean and standard deviation.

    Args:
        lambda_max: 0 turns MC off; 0.4 for WRN16 and 0.6 for VGG11 in the paper.
        delta: half-width of the guarded band, in units of the scale: of the potential where it is fixed.
        sigma: standard deviation of the firing noise in training; 0 turns NLIF off.
        noise: what it moves: "decision", the firing decision alone, or "potential", where it stays from step to step
            until a reset, so that later decisions and MC see it too.
        noise_at_inference: whether the noise stays on outside training. The paper contradicts itself here; every
            result of ours says which it is, and an audit of a noisy model averages over draws.
        sites: of MC: "normed", those behind a batch norm, or "all". One without a norm is pulled many times harder, and
            falls silent. NLIF's noise is at all.
        dose: of MC: "mean" over a layer's neurons, as the paper has it, or "channel": a mean over samples, positions
            and steps, summed over channels and divided by 64. Then a lambda found on a narrow network does the same on
            a wide one.
        hinge: "linear" (power 1) or "quadratic" (2).
        potential: "before-reset" or "after-reset".
        width: see above.
        attack_eps, every: the attack's radius and the training steps between measurements, for "attack" alone.

    Raises:
        SpikeproofError: a negative weight or noise, a delta, radius or ``every`` that is not positive, an unknown
            choice, or a TGO that does nothing.

    Example:
        >>> TGO(lambda_max=0.6, sigma=0.0).label
        'TGO'

    Source: ICLR 2026, arXiv 2602.20548, Eq. 12-13. Ours: delta, sigma, the rise of lambda, where the noise acts by
    default, and the widths "spread" and "attack".
    """

    lambda_max: float = 0.6
    delta: float = 0.5
    sigma: float = 0.2
    noise_at_inference: bool = False
    sites: Which = "normed"
    dose: Dose = "mean"
    hinge: Literal["linear", "quadratic"] = "linear"
    potential: Literal["before-reset", "after-reset"] = "before-reset"
    noise: Literal["decision", "potential"] = "decision"
    width: Literal["fixed", "spread", "attack"] = "fixed"
    attack_eps: Eps = 2 / 255
    every: int = 10

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.lambda_max, self.sigma)):
            raise SpikeproofError(f"TGO needs lambda_max >= 0 and sigma >= 0, got {self.lambda_max} and {self.sigma}.")
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise SpikeproofError(f"TGO's delta must be positive, got {self.delta}; lambda_max = 0 turns MC off.")
        if self.lambda_max == 0 and self.sigma == 0:
            raise SpikeproofError("A TGO with lambda_max = 0 and sigma = 0 does nothing; leave it out of the list.")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise SpikeproofError(f"TGO's {field} is one of {', '.join(choices)}, not {getattr(self, field)!r}.")
        object.__setattr__(self, "attack_eps", parse_eps(self.attack_eps))
        self._attack()

    @property
    def step_cost(self) -> float:
        return 1.75 if self.width == "attack" else 1.3

    @property
    def needs(self) -> Needs:
        if self.lambda_max == 0:
            return Needs()
        after_reset = self.potential == "after-reset"
        if self.width == "fixed":
            return Needs(cost=Hinge(self.delta, self._power), after_reset=after_reset)
        return Needs(moments=True, after_reset=after_reset)

    @property
    def whole_batch(self) -> bool:
        return self.width == "attack" and self.lambda_max > 0

    @property
    def takes(self) -> frozenset[str]:
        if self.sigma == 0:
            return frozenset()
        return frozenset({"the firing noise", *(["what a potential carries on"] if self.noise == "potential" else [])})

    def install(self, model: nn.Module) -> None:
        """Give every site the noise; refuse a model without sites for MC."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("TGO acts on spiking sites and this model has none.")
        if self.lambda_max > 0:
            check_which("TGO", self.sites, model)
        if self.sigma == 0:
            return
        for site in watched.values():
            site.noise_std = self.sigma
            site.noise_at_inference = self.noise_at_inference
            if site.neuron.carries_noise != (self.noise == "potential"):
                site.neuron = dataclasses.replace(site.neuron, carries_noise=self.noise == "potential")

    def begin(self, step: Step) -> None:
        """Measure the attack's changes, for "attack"."""
        if self.width == "attack" and self.lambda_max > 0:
            self._attack().measure(step)

    def penalty(self, step: Step) -> Float[Tensor, ""] | None:
        """lambda(p) times the sum of C; None without MC."""
        if self.lambda_max == 0:
            return None
        weight = self.lambda_max * (1 - math.cos(math.pi * step.progress)) / 2
        record = chosen(step.record, self.sites)
        if self.width == "fixed":
            costs = [_cost_of_channels(seen.cost_total, seen.count) for seen in record.values()]
        else:
            seen = list(record.values())
            mean, std = joint_moments(seen)
            scale = std if self.width == "spread" else self._attack().widths(step, record).clamp_min(_LEAST_SCALE)
            expected = normal_hinge(mean / scale, std / scale, self.delta, self._power)
            channels = [len(part.total[0]) for part in seen if part.total is not None]
            costs = [part.mean(0) for part in expected.split(channels, 1)]
        shared = [CHANNELS if self.dose == "channel" else len(cost) for cost in costs]
        return weight * torch.stack([cost.sum() / wide for cost, wide in zip(costs, shared, strict=True)]).sum()

    @property
    def _power(self) -> int:
        return 2 if self.hinge == "quadratic" else 1

    def _attack(self) -> AttackWidth:
        return AttackWidth(owner=type(self).__name__, eps=parse_eps(self.attack_eps), every=self.every)


def _cost_of_channels(cost_total: Float[Tensor, "t c"] | None, count: int) -> Float[Tensor, " c"]:
    assert cost_total is not None  # the training loop records what `needs` names
    return cost_total.mean(0) / count
