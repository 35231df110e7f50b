"""What learns in a run and at which rate. What may not learn stays as it is, a batch norm's statistics included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.defenses import Defense
from spikeproof.train.config import TrainConfig

# Of SNN-RAT and all that follow it, but where its weight retraction is on.
_WEIGHT_DECAY = 5e-4


def make_optimizer(model: nn.Module, defenses: Sequence[Defense], config: TrainConfig) -> torch.optim.Optimizer:
    """The config's optimiser of all parameters; what defenses installed with options of its own has its own groups."""
    groups = [group for defense in defenses for group in defense.groups(model)]
    own = {parameter for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in model.parameters() if parameter not in own]
    wishes = [defense.weight_decay for defense in defenses if defense.weight_decay is not None]
    decay = min(wishes, default=_WEIGHT_DECAY) if config.weight_decay is None else config.weight_decay
    parts = [{"params": rest}, *groups]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parts, config.learning_rate, momentum=config.momentum, weight_decay=decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parts, config.learning_rate, weight_decay=decay)


def cosine(start: float, step: int, total: int) -> float:
    """The learning rate of a step, falling from ``start`` to 0.

    Example:
        >>> cosine(0.1, 5, 10)
        0.05
    """
    return start * (1 + math.cos(math.pi * step / total)) / 2


def learning(model: nn.Module) -> None:
    """Training mode, but for the batch norms whose scale and shift are frozen: they keep to their running statistics.

    Example:
        >>> norm = nn.BatchNorm2d(3).requires_grad_(False)
        >>> learning(norm)
        >>> norm.training
        False
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(learns(module))


def learns(norm: nn.Module) -> bool:
    """Whether a batch norm moves: one that has no scale and shift does."""
    parameters = list(norm.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
