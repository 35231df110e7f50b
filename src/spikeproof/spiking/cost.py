"""Costs of a margin: elementwise functions whose sums a site can give in its one pass over the potentials."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError


@runtime_checkable
class Cost(Protocol):
    """A differentiable function of the margin, elementwise. Its repr must state all of it: kernels are named by it."""

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The cost of each margin v."""
        ...


@dataclasses.dataclass(frozen=True)
class Hinge:
    """max(0, width - |v|)^power: the cost of potentials within ``width`` of the threshold (TGO Eq. 12 has power 1).

    Args:
        width: in units of the potential, > 0.
        power: 1 or 2.

    Raises:
        SpikeproofError: a width that is not positive, or a power other than 1 and 2.

    Example:
        >>> import torch
        >>> Hinge(0.5)(torch.tensor([-0.25, 0.0, 2.0]))
        tensor([0.2500, 0.5000, 0.0000])
    """

    width: float
    power: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width) and self.width > 0):
            raise SpikeproofError(f"A hinge needs a width > 0, got {self.width}.")
        if self.power not in (1, 2):
            raise SpikeproofError(f"A hinge is linear (power 1) or quadratic (2), got {self.power}.")

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        near = (self.width - margin.abs()).clamp_min(0)
        return near * near if self.power == 2 else near


@dataclasses.dataclass(frozen=True)
class QuantisationError:
    """|u - level s|^power, with the potential u = v + threshold and its spike s = 1[v >= 0].

    It is how far the potential lies from the value that its spike stands for. Differentiable except at the threshold,
    where the spike changes.

    Args:
        threshold: of the neuron, > 0.
        level: the potential that a spike stands for, > 0; no spike stands for 0.
        power: >= 1.

    Raises:
        SpikeproofError: a threshold or level that is not positive, or a power below 1, whose slope has no bound.

    Example:
        >>> import torch
        >>> QuantisationError(threshold=1.0, level=1.0)(torch.tensor([-0.75, 0.5]))
        tensor([0.0625, 0.2500])
    """

    threshold: float
    level: float
    power: float = 2.0

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("level", self.level)):
            if not (math.isfinite(value) and value > 0):
                raise SpikeproofError(f"A quantisation error needs {name} > 0, got {value}.")
        if not (math.isfinite(self.power) and self.power >= 1):
            raise SpikeproofError(f"A quantisation error needs power >= 1, got {self.power}.")

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        potential = margin + self.threshold
        error = (potential - self.level * (margin >= 0).to(margin.dtype)).abs()
        if self.power == 1:
            return error
        return error * error if self.power == 2 else error**self.power
