"""StoG, stochastic gating (Ding et al., AAAI 2024): every spike passes with a learned probability of its neuron.

The published training has a second SGD for the gates (learning rate 0.1, momentum 0.9, no weight decay, the same
cosine) and adds a prior gamma/2 * sum theta^2 to their loss alone. The gradient of that prior is what SGD calls weight
decay, so one SGD with a parameter group for the gates does the same. In the published code the gates' gradient has the
wrong sign; here it has the right one unless ``flipped``. Its clip lets no gradient through at theta = 1, where every
gate begins; ours does (see :class:`spikeproof.spiking.BernoulliGate`). Its attacks see one draw of the gates; an audit
here averages over draws.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.defenses.foreign import own_neurons
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import BernoulliGate, sites


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class StoG(Defense):
    """Gates at every site, random in training, at inference and under attack::

        out = s * G,  G ~ Bernoulli(clip(theta, 0.1, 1)),  a theta for each neuron, all steps alike, 1 at the start
        L = CE + prior / 2 * sum theta^2

    The gradient by theta is the mean over samples and steps of each one's own, as published, so a batch trained in
    parts has larger ones than a whole batch.

    Args:
        prior: weight of the pull of theta to 0, >= 0.
        until: share of training, in (0, 1], after which the gates are left as they are (100 of 200 epochs published).
        flipped: follow the gates' gradient with the published code's sign, which is the wrong one; for comparison only.

    Raises:
        SpikeproofError: a negative prior, or ``until`` outside (0, 1].

    Example:
        >>> StoG(prior=1e-5).label
        'StoG'

    Source: Ding et al. 2024 (AAAI). Deviations: one optimiser with a group for the gates; the gradient's sign, and its
    value at theta = 1 (see the module).
    """

    prior: float = 5e-6
    until: float = 0.5
    flipped: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.prior) and self.prior >= 0):
            raise SpikeproofError(f"StoG's prior must be a number >= 0, got {self.prior}.")
        if not 0 < self.until <= 1:
            raise SpikeproofError(f"StoG's until is a share of training in (0, 1], got {self.until}.")

    @property
    def step_cost(self) -> float:
        return 3.0

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the gates"})

    @property
    def whole_batch(self) -> bool:
        return True

    def install(self, model: nn.Module) -> None:
        """Put a gate at every site, unless the model has learned gates."""
        device = next(model.parameters()).device
        for name, neurons in own_neurons(self.label, model).items():
            site = sites(model)[name]
            if isinstance(site.gate, BernoulliGate):  # a model that has learned gates goes on with them
                site.gate.flipped = self.flipped
            else:
                site.gate = BernoulliGate(neurons, flipped=self.flipped).to(device)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The gates' rates, with ``prior`` as weight decay."""
        return [{"params": [gate.rate for gate in _gates(model)], "weight_decay": self.prior}]

    def after_backward(self, model: nn.Module, progress: float) -> None:
        """After ``until``, take the gates' gradients away."""
        if progress >= self.until:
            for gate in _gates(model):
                gate.rate.grad = None  # then the optimiser leaves it alone, momentum and prior too


def _gates(model: nn.Module) -> list[BernoulliGate]:
    return [module for module in model.modules() if isinstance(module, BernoulliGate)]
