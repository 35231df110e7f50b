"""What TRADES and MART share: a batch crafted by projected ascent from a small Gaussian start, in eval mode."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.attacks import Craft, SteepestStep, climb, crafting
from spikeproof.attacks.objective import Objective
from spikeproof.defenses.defense import Defense, Step
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Eps, Linf, OptionalEps, parse_eps


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerAttack(Defense):
    """Trains on the last iterate of k steps of size a, P the projection to the ball and to [0, 1]::

        x' = P(x + s N(0, 1)),    x' <- P(x' + a sign(grad objective(f(x'))))

    Subclasses say which objective is climbed, and give a loss of clean and adversarial logits.

    Args:
        eps: radius in pixels of [0, 1], also as text, "2/255".
        steps: k.
        step_size: a; eps / 2 by default.
        start_std: s, in pixels of [0, 1].

    Raises:
        SpikeproofError: an impossible radius, steps < 1, a step size that is not positive, or a start_std outside
            [0, 1].
    """

    eps: Eps = 2 / 255
    steps: int = 2
    step_size: OptionalEps = None
    start_std: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_eps(self.eps))
        if self.steps < 1:
            raise SpikeproofError(f"{self.label} needs steps >= 1, got {self.steps}.")
        if self.step_size is not None:
            object.__setattr__(self, "step_size", parse_eps(self.step_size, "step size"))
            if self.step_size == 0:
                raise SpikeproofError(f"{self.label} needs a step_size > 0; leave it out for eps / 2.")
        object.__setattr__(self, "start_std", parse_eps(self.start_std, "start_std"))

    @property
    def forwards(self) -> int:
        return 2

    @property
    def perturbs(self) -> bool:
        return True

    @property
    def replaces_loss(self) -> bool:
        return True

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """x', the last image of the ascent."""
        threat = Linf(self.eps)
        size = threat.eps / 2 if self.step_size is None else parse_eps(self.step_size)
        with crafting(step.model, step.crafting()) as craft:
            start = threat.project(step.clean + self.start_std * torch.randn_like(step.clean), step.clean)
            rule = SteepestStep(threat, size)
            return climb(craft, step.clean, start, rule, steps=self.steps, objective=self.objective(craft, step))

    def objective(self, craft: Craft, step: Step) -> Objective:
        """What the inner attack climbs.

        Args:
            craft: the network under attack.
            step: the present step; images, logits and record are not there yet.
        """
        raise NotImplementedError
