"""TRADES (Zhang et al., ICML 2019): cross-entropy of the clean image and a bound on how far the ball moves the answer.

The multi-class objective, with x' found as in the authors' code: ascent on the divergence from the clean prediction,
in eval mode, from a Gaussian start of 0.001; both terms then in train mode, the divergence's gradient through both of
its arguments. Ours: the default steps (theirs are 10 of 0.007 at eps 0.031), and the adversarial training forward
before the clean one, which only batch norm's running statistics see.
"""

from __future__ import annotations

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from spikeproof.attacks import Craft, divergence_of
from spikeproof.attacks.objective import Objective
from spikeproof.defenses.defense import Step
from spikeproof.defenses.inner_attack import InnerAttack
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class TRADES(InnerAttack):
    """L = CE(f(x), y) + beta mean KL(softmax f(x) || softmax f(x')), x' the ascent on that divergence.

    Other defenses' penalties watch the forward of x'; logits and training accuracy are those of x'. Where the start
    flips no spike the divergence has no gradient and the image stays; a larger ``start_std`` leaves fewer of them.

    Args:
        eps: radius in pixels of [0, 1], also as text, "2/255".
        beta: weight of the divergence; 6 in the paper's CIFAR-10 tables.
        steps: of the ascent.
        step_size: of the ascent; eps / 2 by default.
        start_std: standard deviation of the start around the image.

    Raises:
        SpikeproofError: beta < 0, or what :class:`InnerAttack` refuses.

    Example:
        >>> TRADES(eps="8/255", steps=10, step_size="2/255").beta
        6.0

    Source: Zhang et al. 2019 (ICML), the multi-class objective, as in the authors' code. Deviations: the default steps;
    the forward of x' comes first.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise SpikeproofError(f"TRADES' beta must be a number >= 0, got {self.beta}; 6 is the paper's.")

    @property
    def step_cost(self) -> float:
        return 2.9 + 0.45 * self.steps

    def objective(self, craft: Craft, step: Step) -> Objective:
        """The divergence from the clean prediction."""
        return divergence_of(craft.unchecked(step.clean))

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """L of both forwards; the one of x is made here."""
        clean = step.forward(step.clean)
        return cross_entropy(clean, step.labels) + self.beta * divergence(clean, step.logits).mean()


def divergence(clean: Float[Tensor, "n k"], moved: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """KL(softmax(clean) || softmax(moved)) of each sample, differentiable by both.

    Args:
        clean, moved: logits.
    """
    return kl_div(log_softmax(moved, 1), log_softmax(clean, 1), reduction="none", log_target=True).sum(1)
