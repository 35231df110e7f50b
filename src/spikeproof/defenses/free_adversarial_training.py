"""Free adversarial training (Shafahi et al., NeurIPS 2019): one backward moves both the weights and the perturbation.

Algorithm 1: the perturbation begins at zero once and is handed from batch to batch, at the batch's positions whatever
images lie there. As in the paper the gradient is taken at the image that was trained on, in train mode, after the step
P(x + delta); what other defenses add to the loss is part of it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.defenses.defense import Defense, Step
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.threat import Eps, Linf, parse_eps


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeAdversarialTraining(Defense):
    """Each batch is trained on m times; each time one forward and backward at x' = clip(x + delta, 0, 1), and then::

        weights <- optimiser's step,    delta <- clip(delta + eps sign(grad_x' L), -eps, eps)

    delta stays for the next batch. A part of a batch whose shape differs from the last one's begins at zero.

    Training makes m optimiser steps for each batch of an epoch: divide the epochs by m to spend what plain training
    spends, as the paper does.

    Args:
        eps: radius and step in pixels of [0, 1], also as text, "2/255".
        replays: m; the paper's tables have 2 to 10, with 8 best on CIFAR-10 and 4 on ImageNet.

    Raises:
        SpikeproofError: an impossible radius, or replays < 1.

    Example:
        >>> FreeAdversarialTraining(eps="2/255").replays
        4

    Source: Shafahi et al. 2019 (NeurIPS), algorithm 1.
    """

    label: ClassVar[str] = "Free AT"
    name: ClassVar[str] = "free"

    eps: Eps = 2 / 255
    replays: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_eps(self.eps))
        if self.replays < 1:
            raise SpikeproofError(f"Free adversarial training needs replays >= 1, got {self.replays}; 4 is usual.")

    @property
    def step_cost(self) -> float:
        return 0.97 * self.replays

    @property
    def perturbs(self) -> bool:
        return True

    @property
    def wants_image_gradient(self) -> bool:
        return True

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """clip(x + delta, 0, 1)."""
        return Linf(self.eps).project(step.clean + _perturbation(step), step.clean)

    def learned(self, step: Step) -> None:
        """Move delta by the gradient that the backward gave."""
        assert step.images.grad is not None  # the training loop gives it to whoever wants it
        eps = Linf(self.eps).eps
        moved = _perturbation(step) + eps * step.images.grad.sign()
        step.memory[_name(step)] = moved.clamp(-eps, eps)


def _perturbation(step: Step) -> Tensor:
    delta = step.memory.get(_name(step))
    return torch.zeros_like(step.clean) if delta is None or delta.shape != step.clean.shape else delta


def _name(step: Step) -> str:
    return f"FreeAT/perturbation/{step.part}"
