"""AWP, adversarial weight perturbation (Wu, Xia and Wang, NeurIPS 2020, arXiv 2004.05884): a flat loss by the weights.

It moves the weights of convolutions and linear layers. The authors' code takes what has "weight" in its name and more
than one dimension, which is the same in a plain network; what other defenses learn at the sites is no weight. On clean
images AWP is sharpness-aware minimisation (Foret et al. 2021) with a radius for each layer.

Ours: the weights are put back before the optimiser steps (theirs after it), so weight decay acts on w and not on w + v;
an ascent forward draws the same noise as the training forward; K > 1 steps have gamma / K each.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.checked import real, whole
from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields

# As the authors' code has it: a gradient of zero moves nothing.
_LEAST_NORM = 1e-20


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class AWP(Defense):
    """The gradient that the optimiser sees is taken at w + v, where v climbs the same loss on the same images::

        g = grad_w L(w + v)
        v = 0, then K times for the weight w_l of each layer:  v_l <- v_l + (gamma / K) ||w_l|| g_l / ||g_l||
        w <- the optimiser's step from w, by the gradient at w + v

    L is the loss of training on the whole batch, penalties and all; ||v_l|| <= gamma ||w_l||. The images are made
    before, at w. Batch norm's running statistics move with the forward at w + v alone; loss and training accuracy in
    the metrics are those at w + v. A batch in parts, or one that several processes share, has one v, climbed by the
    gradients' sum. Biases, batch norm and what is frozen have no v.

    With a defense that takes the image's gradient of training's backward (Free, HIRE), that gradient is taken at w + v
    too, and each replay climbs anew.

    Args:
        gamma: the size of v by that of w, in (0, 1]; 0.005 is the paper's, and 0.01 the default of its code for AT.
        steps: K; 1 is the paper's. Each costs a forward and a backward.
        warmup: share of training, in [0, 1), that is plain. The authors' code for TRADES waits for 10 epochs.

    Raises:
        SpikeproofError: a number out of its range.

    Example:
        >>> AWP(gamma=0.01).steps
        1

    Source: Wu, Xia and Wang 2020 (NeurIPS), algorithm 1. Deviations: the weights are put back before the optimiser
    steps; an ascent forward draws the training forward's noise.
    """

    gamma: float = 0.005
    steps: int = 1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        real(self.gamma, "AWP", "gamma", 0, 1, above=True)
        whole(self.steps, "AWP", "steps")
        if not 0 <= self.warmup < 1:
            raise SpikeproofError(f"AWP's warmup is a share of training in [0, 1), got {self.warmup}.")

    @property
    def step_cost(self) -> float:
        return 1 + self.steps * (1 - self.warmup)

    @contextlib.contextmanager
    def moved_weights(self, model: nn.Module, gradient: Callable[[], None], progress: float) -> Iterator[None]:
        """A context with the weights at w + v; w comes back to the bit."""
        if progress < self.warmup:
            yield
            return
        layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        weights = [layer.weight for layer in layers if layer.weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        try:
            for _ in range(self.steps):
                gradient()
                with torch.no_grad():
                    for weight, start in zip(weights, before, strict=True):
                        if weight.grad is not None:
                            weight.add_(ascent(start, weight.grad, self.gamma / self.steps))
            yield
        finally:
            with torch.no_grad():
                for weight, start in zip(weights, before, strict=True):
                    weight.copy_(start)


def ascent(weight: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"], size: float) -> Float[Tensor, "*shape"]:
    """size ||w|| g / ||g||; zero where g is.

    Args:
        weight: w.
        gradient: g.
        size: gamma / K, >= 0.

    Example:
        >>> ascent(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), 0.1)
        tensor([0.0000, 0.5000])
    """
    return size * weight.norm() / (gradient.norm() + _LEAST_NORM) * gradient
