"""What learns in a run and at which rate. What is frozen stays as it is, a batch norm's statistics included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.defenses import Defense
from spikeproof.train.config import TrainConfig

# That of SNN-RAT and of the papers after it; with its weight retraction (REG) there is none.
_WEIGHT_DECAY = 5e-4


def make_optimizer(model: nn.Module, defenses: Sequence[Defense], config: TrainConfig) -> torch.optim.Optimizer:
    """Make the config's optimiser of all parameters.

    Args:
        model: with its defenses installed.
        defenses: those of the run. What they installed with options of its own (``Defense.groups``) has groups of its
            own. Their smallest ``weight_decay`` holds where the config gives none; 5e-4 where they give none either.
        config: optimizer, learning_rate, momentum and weight_decay are read.
    """
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
    """The learning rate of a step: start (1 + cos(pi step / total)) / 2, which falls from ``start`` to 0.

    Args:
        start: the learning rate at step 0.
        step: in [0, total).
        total: steps of the run.

    Example:
        >>> cosine(0.1, 5, 10)
        0.05
    """
    return start * (1 + math.cos(math.pi * step / total)) / 2


def learning(model: nn.Module) -> None:
    """Put a network into training mode, except the batch norms whose scale and shift are frozen.

    Those normalise by their running statistics, which stay as they are.

    Args:
        model: changed in place.

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
    """Whether a batch norm is in training mode while its network trains: unless its scale and shift are frozen."""
    parameters = list(norm.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
