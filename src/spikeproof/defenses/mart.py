"""MART (Wang et al., ICLR 2020): adversarial training whose consistency term is weighted by the clean answer's doubt.

As in the authors' code the weight stays in the graph, and x' begins at a Gaussian start of 0.001. Their code computes
log(1.0001 - p) and a weight of 1.0000001 - p so that nothing is infinite; here both are exact, from log-sums. Ours:
the default steps (theirs are 10 of 0.007 at eps 0.031), and the adversarial training forward before the clean one.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import log_softmax

from spikeproof.attacks import Craft, cross_entropy_of
from spikeproof.attacks.objective import Objective
from spikeproof.defenses.defense import Step
from spikeproof.defenses.inner_attack import InnerAttack
from spikeproof.defenses.trades import divergence
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class MART(InnerAttack):
    """With p = softmax f(x), p' = softmax f(x') and x' the ascent on CE(f(x'), y), the mean over the batch of::

        -log p'_y - log(1 - max_{k != y} p'_k)  +  beta KL(p || p') (1 - p_y)

    Other defenses' penalties watch the forward of x'; logits and training accuracy are those of x'.

    Args:
        eps: radius in pixels of [0, 1], also as text, "2/255".
        beta: the paper's lambda; 5 where the authors' code trains ResNet-18.
        steps: of the ascent.
        step_size: of the ascent; eps / 2 by default.
        start_std: standard deviation of the start around the image.

    Raises:
        SpikeproofError: beta < 0, or what :class:`InnerAttack` refuses.

    Example:
        >>> MART(eps="8/255", steps=10, step_size="2/255").beta
        5.0

    Source: Wang et al. 2020 (ICLR), as in the authors' code. Deviations: exact log-sums instead of small
    constants; the default steps; the forward of x' comes first.
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise SpikeproofError(f"MART's beta must be a number >= 0, got {self.beta}; 5 is the authors'.")

    @property
    def step_cost(self) -> float:
        return 2.5 + 0.45 * self.steps

    def objective(self, craft: Craft, step: Step) -> Objective:
        """The cross-entropy."""
        return cross_entropy_of(step.labels, known=True)

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """The loss of both forwards; the one of x is made here."""
        clean = step.forward(step.clean)
        doubt = -torch.expm1(_of_label(log_softmax(clean, 1), step.labels))
        return (
            boosted_cross_entropy(step.logits, step.labels) + self.beta * divergence(clean, step.logits) * doubt
        ).mean()


def boosted_cross_entropy(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """-log p_y - log(1 - max_{k != y} p_k), p the softmax; finite for any finite logits.

    Args:
        logits: of two classes or more.
        labels: y.

    Example:
        >>> boosted_cross_entropy(torch.zeros(1, 2), torch.tensor([0])).exp()
        tensor([4.])
    """
    chances = log_softmax(logits, 1)
    rival = chances.scatter(1, labels[:, None], -torch.inf).argmax(1)
    rest = chances.scatter(1, rival[:, None], -torch.inf).logsumexp(1)
    return -_of_label(chances, labels) - rest


def _of_label(chances: Tensor, labels: Tensor) -> Tensor:
    return chances.gather(1, labels[:, None])[:, 0]
