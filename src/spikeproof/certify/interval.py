"""Intervals that hold what a network computes in float32, whatever order its sums are taken in.

Bounds are computed in float64 by centre and radius (Gowal et al. 2018), and every operation is widened by what float32
may add to it. A sum of n products in floating point differs from the exact one by at most::

    gamma(n) sum |w| |x|,     gamma(n) = n u / (1 - n u),     u = 2^-24 in float32 (Higham 2002, Section 3.1)

So an interval holds the number that the machine has, not the one of exact arithmetic, and that carries from layer to
layer. On a GPU the products of convolutions may be those of TF32, which costs another 2^-10 of the same sum. Ways to
convolve that add before they multiply (Winograd, FFT) round otherwise and are not covered; PyTorch takes none on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_HERE = 2.0**-53  # of the bounds' own arithmetic
_TINY = 2.0**-126  # below it float32 may count as zero
_TF32 = 2.0**-10


class Interval(NamedTuple):
    """Bounds of every element, in float64."""

    low: Float[Tensor, "*shape"]
    high: Float[Tensor, "*shape"]

    @property
    def largest(self) -> Float[Tensor, "*shape"]:
        """The largest size that an element can have."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def each(self, function: Callable[[Tensor], Tensor]) -> Interval:
        """What only moves elements, or never falls where one rises, done to both bounds."""
        return Interval(function(self.low), function(self.high))

    def widened(self, margin: Tensor | float) -> Interval:
        """By so much to both sides."""
        return Interval(self.low - margin, self.high + margin)

    def times(self, factor: Tensor | float) -> Interval:
        """The exact product with numbers of any sign."""
        first, second = self.low * factor, self.high * factor
        return Interval(torch.minimum(first, second), torch.maximum(first, second))

    def plus(self, other: Interval) -> Interval:
        """The exact sum."""
        return Interval(self.low + other.low, self.high + other.high)


class Rounding(NamedTuple):
    """How an audited network rounds.

    Attributes:
        unit: u, 2^-24 in float32.
        products: what every product may lose more, relative to its size.
    """

    unit: float
    products: float = 0.0

    @classmethod
    def of(cls, dtype: torch.dtype, device: torch.device) -> Rounding:
        """That of a network of such numbers on such a device.

        Example:
            >>> Rounding.of(torch.float32, torch.device("cpu")).unit == 2.0**-24
            True
        """
        wide = dtype == torch.float64
        return cls(2.0**-53 if wide else 2.0**-24, _TF32 if device.type == "cuda" and not wide else 0.0)

    def share(self, terms: int) -> float:
        """gamma(terms) of the network, and of the bounds' own arithmetic with a factor to spare."""
        return terms * self.unit / (1 - terms * self.unit) + 4 * (terms + 4) * _HERE

    def margin(self, size: Tensor, terms: int) -> Tensor:
        """What so many roundings may add to a value whose parts have this size in all."""
        return self.share(terms) * size + terms * _TINY

    def affine(
        self,
        given: Interval,
        apply: Callable[[Tensor, Tensor], Tensor],
        weight: Tensor,
        bias: Tensor | float,
        terms: int,
    ) -> Interval:
        """Bounds of ``apply(x, weight) + bias``, linear in both: the centre through it, the radius through its size.

        Args:
            given: of x.
            bias: broadcasts against what comes out.
            terms: how many products are added up.
        """
        weight = weight.double()
        centre = apply((given.low + given.high) / 2, weight) + bias
        reach = apply((given.high - given.low) / 2, weight.abs())
        size = apply(given.largest, weight.abs())
        margin = self.margin(size + (bias.abs() if isinstance(bias, Tensor) else abs(bias)), terms + 1)
        return Interval(centre - reach, centre + reach).widened(margin + self.products * size)
