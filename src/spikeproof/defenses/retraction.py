"""REG, the weight retraction of SNN-RAT (Ding et al., NeurIPS 2022), after Parseval networks (Cisse et al. 2017).

As its code has it. With adversarial training in the same list this is RAT. Batch norm's scales stay free, so the
network as a whole is not 1-Lipschitz. Ours: the random rows come from the CPU, so that all devices agree on them.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.models.wide_resnet import PreActivationBlock
from spikeproof.sending import sent

# From this many rows on, a linear layer is retracted by a random part of them.
_MANY_ROWS = 200


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class REG(Defense):
    """After every optimiser step, for the weight W [out, rest] of each convolution and linear layer::

        W <- (1 + beta) W - beta W W^T W        so each singular value: s <- s + beta (s - s^3)

    a step down the gradient of ||W W^T - I||^2 / 4, which draws singular values towards 1. Of a linear layer with 200
    outputs or more, a new random share of the rows is taken each step, and that part of W is retracted by itself. A
    residual block's two learnable weights are projected onto the simplex, so that they stay a convex combination.

    Biases, batch norm, the optimiser's momentum and what is frozen (``requires_grad`` off) are left alone. The weight
    decay becomes 0 unless the training config names one.

    Args:
        beta: 0.001 belongs to VGG11, 0.004 to WRN16, at batches of 64 images. Larger batches make fewer steps an epoch,
            and so retract less.
        linear_rows: the share of the rows of a wide linear layer that is taken.

    Raises:
        SpikeproofError: a beta outside (0, 1), where 1 is no stable point of s, or a share outside (0, 1].

    Example:
        >>> REG(beta=0.004).weight_decay
        0.0

    Source: Ding et al. 2022 (NeurIPS, SNN-RAT), as its code has it, after Cisse et al. 2017. Deviation: the random rows
    come from the CPU's generator.
    """

    beta: float = 0.001
    linear_rows: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.beta < 1:
            raise SpikeproofError(f"REG's beta must lie in (0, 1), got {self.beta}; 0.001 is usual, 0.004 for wrn16.")
        if not 0 < self.linear_rows <= 1:
            raise SpikeproofError(f"REG's linear_rows is a share of rows in (0, 1], got {self.linear_rows}.")

    @property
    def step_cost(self) -> float:
        return 1.1

    @property
    def weight_decay(self) -> float:
        return 0.0

    @torch.no_grad()
    def after_step(self, model: nn.Module, seed: int) -> None:
        """Retract the weights and project the blocks' skip weights."""
        generator = torch.Generator().manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                if not module.weight.requires_grad:
                    continue
                weight = module.weight.flatten(1)
                if isinstance(module, nn.Linear) and len(weight) >= _MANY_ROWS:
                    taken = max(1, int(self.linear_rows * len(weight)))
                    rows = sent(torch.randperm(len(weight), generator=generator)[:taken], weight.device)
                    weight[rows] = retracted(weight[rows], self.beta)
                else:
                    module.weight.copy_(retracted(weight, self.beta).view_as(module.weight))
            elif isinstance(module, PreActivationBlock) and module.weights.requires_grad:
                module.weights.copy_(on_simplex(module.weights))


def retracted(weight: Float[Tensor, "m n"], beta: float) -> Float[Tensor, "m n"]:
    """(1 + beta) W - beta W W^T W, by the smaller of W W^T and W^T W.

    Args:
        weight: W.
        beta: in (0, 1).

    Example:
        >>> retracted(torch.tensor([[0.5, 0.0]]), 0.004)
        tensor([[0.5015, 0.0000]])
    """
    rows, columns = weight.shape
    cubed = (weight @ weight.T) @ weight if rows <= columns else weight @ (weight.T @ weight)
    return (1 + beta) * weight - beta * cubed


def on_simplex(point: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The nearest point whose coordinates are >= 0 and add up to 1.

    With the coordinates a_1 >= a_2 >= ... and the largest j for which 1 + j a_j > a_1 + ... + a_j, it is
    max(0, a - (a_1 + ... + a_j - 1) / j).

    Args:
        point: any k numbers.

    Example:
        >>> on_simplex(torch.tensor([0.9, 0.5]))
        tensor([0.7000, 0.3000])
    """
    ordered = point.sort(descending=True).values
    sums = ordered.cumsum(0)
    counts = torch.arange(1, len(point) + 1, device=point.device)
    # It holds for the first j and for no more, so counting them finds j, without waiting for a GPU.
    j = (1 + counts * ordered > sums).sum(0, keepdim=True)
    return (point - (sums.gather(0, j - 1) - 1) / j).clamp_min(0)
