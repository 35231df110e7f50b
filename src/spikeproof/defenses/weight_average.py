"""EMA, an exponential moving average of the weights, as Gowal et al. (2020, arXiv 2010.03593) use it with AT.

tau_t is that of the PyTorch code that others follow (imrahulr/adversarial_robustness_pytorch). Ours: batch norm's
running statistics are averaged as the weights are. That code takes those of the running network. SWA (Izmailov et al.
2018), which averages with equal weights, measures them anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.defenses.defense import Defense, Step
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields

_STEPS, _AVERAGE = "EMA steps", "EMA of "


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class EMA(Defense):
    """The network that comes out of training is the average, from w_bar = w before the first step::

        w_bar <- tau_t w_bar + (1 - tau_t) w   after optimiser step t = 1, 2, ...
        tau_t = min(tau, (1 + t) / (10 + t))

    for every parameter, and for the running means and variances of batch norms. These are the average of the networks'
    statistics, not statistics of the averaged network. Training does not use the average; validation and audit do. What
    is frozen stays as it is, to the bit. All else stays as the last step leaves it: batch norm's counters, HoSNN's set
    points.

    Args:
        tau: in [0, 1). 0.995 averages over some 200 steps, 0.999 over 1000: well below the steps of a training.

    Raises:
        SpikeproofError: a tau out of its range.

    Example:
        >>> EMA(tau=0.999).label
        'EMA'

    Source: Gowal et al. 2020 (arXiv 2010.03593); tau_t as in imrahulr/adversarial_robustness_pytorch. Deviation: batch
    norm's running statistics are averaged too.
    """

    tau: float = 0.995

    def __post_init__(self) -> None:
        if not 0 <= self.tau < 1:
            raise SpikeproofError(f"EMA's tau must lie in [0, 1), got {self.tau}; 0.995 is usual.")

    @property
    def step_cost(self) -> float:
        return 1.02

    @torch.no_grad()
    def begin(self, step: Step) -> None:
        """Take the weights that the last optimiser step left into the average."""
        if step.part:
            return
        # The weights are those that the last optimiser step left.
        steps = step.count(_STEPS)
        for name, value in _averaged(step.model):
            average = step.memory.get(_AVERAGE + name)
            step.memory[_AVERAGE + name] = (
                value.detach().clone() if average is None else self._moved(average, value, steps)
            )

    @torch.no_grad()
    def outcome(self, model: nn.Module, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The averages, by name; empty before the first step."""
        if _STEPS not in memory:
            return {}
        steps = int(memory[_STEPS])
        return {name: self._moved(memory[_AVERAGE + name], value, steps) for name, value in _averaged(model)}

    def _moved(self, average: Tensor, value: Tensor, steps: int) -> Tensor:
        # A lerp, which gives back exactly what did not move.
        return torch.lerp(average, value.detach(), 1 - min(self.tau, (1 + steps) / (10 + steps)))


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and batch norms' running statistics, as the state dict names them."""
    yield from model.named_parameters()
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            for name, statistic in module.named_buffers(recurse=False):
                if statistic.is_floating_point():  # a count of batches is none
                    yield f"{path}.{name}", statistic
