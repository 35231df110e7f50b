"""SR, sparse gradient regularisation (Liu et al., ICML 2024): a small L1 norm of the confidence's gradient by pixels.

As its code has it, by a finite difference along the gradient's signs, in train mode. Written with the sigmoid of the
logits' difference, which is the paper's e^{z_y} / (e^{z_y} + e^{z_k}) without its overflow.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.defenses.defense import Defense, Step
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.private_rng import private_rng


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class SR(Defense):
    """L = CE + strength * mean over samples of ((q(x + h d) - q(x)) / h)^2, about the squared L1 norm of grad_x q::

        q = sigmoid(z_y - z_k),    k = the best wrong class at x, for both forwards
        d = sign(grad_x q),        a constant

    x is what is trained on, clean or adversarial; x + h d may leave [0, 1]. The gradient runs through both forwards,
    and both move batch norm's running statistics. A step costs a second forward and backward, and a backward to the
    pixels.

    Spikes jump, so at h = 0.01 the quotient counts spikes that x + h d flips beside the slope: in networks trained on
    the digits it was 0.7 to 6 times the squared L1 norm of the surrogate gradient. bfloat16's rounding flips some more;
    there the penalty stayed within a factor of 2 of float32's, and training gained about the same robustness.

    Both forwards must differ by h d alone, so a network whose sites or coding draw random numbers is refused, and
    dropout in another library's network drops the same in both. Refused, too, is a defense that
    climbs the gradient of the whole loss by the pixels: with a strength of 0.01, this penalty's part of it outgrew that
    of the cross-entropy up to 20 times.

    Args:
        strength: lambda, >= 0. Not published; the code prints three decimals of it, and 0.001 was once its default.
        step: h, in pixels of [0, 1].

    Raises:
        SpikeproofError: a negative strength or a step that is not positive; in training, a network that draws random
            numbers.

    Example:
        >>> SR(strength=0.002).wants_image_gradient
        True

    Source: Liu et al. 2024 (ICML), as its code has it; the confidence is written as a sigmoid, which cannot overflow.
    """

    strength: float = 0.001
    step: float = 0.01

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise SpikeproofError(f"SR's strength must be a number >= 0, got {self.strength}; 0.001 is a start.")
        if not (math.isfinite(self.step) and self.step > 0):
            raise SpikeproofError(f"SR's step must be a number > 0, got {self.step}; 0.01 is the paper's.")

    @property
    def step_cost(self) -> float:
        return 2.6

    @property
    def forwards(self) -> int:
        return 2

    @property
    def wants_image_gradient(self) -> bool:
        return True

    def clashes(self, other: Defense) -> str | None:
        """It cannot work with a defense that moves images by the gradient of the whole loss."""
        if not other.wants_image_gradient:
            return None
        return (
            f"{other.label} moves images by the gradient of the whole loss, in which SR's penalty drowns the "
            "cross-entropy; use AT with SR."
        )

    def penalty(self, step: Step) -> Float[Tensor, ""]:
        """strength times the mean squared quotient; makes a second forward.

        Raises:
            SpikeproofError: a network that draws random numbers.
        """
        if draws_at_random(step.model):
            raise SpikeproofError(
                "SR compares two forwards that must differ by a small step alone, and this network draws random "
                "numbers in each; leave out SR, or the noise, gates or random coding."
            )
        rivals = step.logits.detach().scatter(1, step.labels[:, None], -torch.inf).argmax(1)

        def confidence(logits: Tensor) -> Tensor:
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return torch.sigmoid(_at(wide, step.labels) - _at(wide, rivals))

        here = confidence(step.logits)
        (slope,) = torch.autograd.grad(here.sum(), step.images, retain_graph=True)
        with private_rng():
            torch.manual_seed(step.noise)  # as the first forward began: a dropout drops the same
            there = confidence(step.forward(step.images.detach() + self.step * slope.sign()))
        return self.strength * ((there - here) / self.step).square().mean()


def _at(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0]
