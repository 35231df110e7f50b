"""The optimiser of a run and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from spikeproof.defenses import Defense
from spikeproof.train.config import TrainConfig

# Of SNN-RAT and all that follow it, but where its weight retraction is on.
_WEIGHT_DECAY = 5e-4


def make_optimizer(model: nn.Module, defenses: Sequence[Defense], config: TrainConfig) -> torch.optim.SGD:
    """SGD on all parameters; what defenses installed with options of its own has groups of its own."""
    groups = [group for defense in defenses for group in defense.groups(model)]
    own = {parameter for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in model.parameters() if parameter not in own]
    wishes = [defense.weight_decay for defense in defenses if defense.weight_decay is not None]
    decay = min(wishes, default=_WEIGHT_DECAY) if config.weight_decay is None else config.weight_decay
    return torch.optim.SGD(
        [{"params": rest}, *groups], config.learning_rate, momentum=config.momentum, weight_decay=decay
    )


def cosine(start: float, step: int, total: int) -> float:
    """The learning rate of a step, falling from ``start`` to 0.

    Example:
        >>> cosine(0.1, 5, 10)
        0.05
    """
    return start * (1 + math.cos(math.pi * step / total)) / 2
