"""Learned surrogate widths, ASGL-type (Wang et al., ICML 2023): the smoothing trains along with the weights.

ASGL learns, by backpropagation, the width of the smooth function that stands in for the spike. Its networks mix the
smooth function into a random share of the forward's spikes; here the forward fires spikes alone (that share 0), which
is also the method's own first variant. Any of the surrogates serves, where ASGL's is the sigmoid's slope. Its aim is
accuracy; an audit shows whether it helps against attacks. Attacks by the model's own surrogate then have the learned
width too.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.defenses.surrogate_width import give_sharpness, sharpness_of
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnableWidth(Defense):
    """Each site's surrogate becomes a h(a v) with a learned sharpness a, window / a wide, and a has the gradient

        dL/da = sum dL/ds v h(a v)

    of the smooth spike H(a v) whose slope the surrogate is. a is kept within [least, most] and has no weight decay.

    Args:
        start: a at the beginning; 1 is the neuron's own surrogate. A network that has learned its own goes on with it.
        least, most: 0 < least <= start <= most.

    Raises:
        SpikeproofError: bounds in the wrong order; on installing, a model without sites, or sites whose sharpness is
            fixed, or one by step or channel.

    Example:
        >>> LearnableWidth(start=1.0).label
        'learnable width'

    Source: ASGL (Wang et al. 2023, ICML). Deviations: the forward fires spikes only, and any surrogate serves.
    """

    label: ClassVar[str] = "learnable width"

    start: float = 1.0
    least: float = 0.1
    most: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.start <= self.most < float("inf"):
            raise SpikeproofError(
                f"A learned width needs 0 < least <= start <= most, got {self.least}, {self.start} and {self.most}."
            )

    @property
    def step_cost(self) -> float:
        return 1.1

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the surrogate"})

    def install(self, model: nn.Module) -> None:
        """Give every site a sharpness that learns."""
        give_sharpness("LearnableWidth", model, self.start, learned=True)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The sharpnesses, without weight decay."""
        return [{"params": list(sharpness_of(model)), "weight_decay": 0.0}]

    @torch.no_grad()
    def after_step(self, model: nn.Module, seed: int) -> None:
        """Keep a within its bounds."""
        for sharpness in sharpness_of(model):
            sharpness.clamp_(self.least, self.most)
