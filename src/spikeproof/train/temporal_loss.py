"""TET, temporal efficient training (Deng et al., ICLR 2022): a loss of every step's logits, not only of their mean."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

# Lambda, the weight of the second term, as in ASSG's training code.
_PULL = 1e-3


def temporal_loss(steps: Float[Tensor, "t n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """(1 - lambda) mean_t CE(z_t, y) + lambda mean (z - 1)^2 of the logits z of each step, with lambda = 1e-3.

    The second term keeps outliers away.

    Args:
        steps: z, the logits of each step.
        labels: y, in [0, k).

    Example:
        >>> import torch
        >>> temporal_loss(torch.ones(4, 2, 10), torch.tensor([3, 7]))
        tensor(2.3003)
    """
    num_steps = len(steps)
    every_label = labels.repeat(num_steps)
    return (1 - _PULL) * cross_entropy(steps.flatten(0, 1), every_label) + _PULL * (steps - 1).square().mean()
