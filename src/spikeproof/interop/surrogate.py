"""The surrogate of another library's neuron: read from its own backward, with a window as ours have."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_FAR = 1e3  # a support that ends beyond this many units is none
_NODES = 400  # of Gauss and Legendre's rule
_ROUNDED = 1e-6  # of the peak: what falls to zero from below this is rounded to zero, and has no end


@dataclasses.dataclass(frozen=True)
class TheirSurrogate:
    """h(v), the derivative that a spiking function of another library states for its step.

    Args:
        spikes_of: margins to spikes, with the library's backward.

    Example:
        >>> TheirSurrogate(torch.sigmoid)(torch.zeros(1))
        tensor([0.2500])
    """

    spikes_of: Callable[[Tensor], Tensor]

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        with torch.enable_grad():
            leaf = margin.detach().requires_grad_()
            spikes = self.spikes_of(leaf)
            if not spikes.requires_grad:
                return torch.zeros_like(margin)
            (slope,) = torch.autograd.grad(spikes.sum(), leaf, allow_unused=True)
        return torch.zeros_like(margin) if slope is None else slope

    @functools.cached_property
    def window(self) -> float:
        """Half-width of the interval with a gradient: the support, or mass / h(0) where it has no end."""
        end = self._end()
        return self._mass() / self._at(0.0) if end is None else end

    def _at(self, place: float) -> float:
        return self(torch.tensor([place], dtype=torch.float64)).item()

    def _end(self) -> float | None:
        """Where h falls to zero, by bisection; None where it only comes near zero."""
        places = torch.logspace(-4, math.log10(_FAR), 400, dtype=torch.float64)
        positive = (self(places) > 0).nonzero()
        if len(positive) == 0 or int(positive[-1]) == len(places) - 1:
            return None
        last = int(positive[-1])
        inside, outside = places[last].item(), places[last + 1].item()
        while outside - inside > 4 * np.spacing(outside):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._at(middle) > 0 else (inside, middle)
        return inside if self._at(0.99 * inside) > _ROUNDED * self._at(0.0) else None

    def _mass(self) -> float:
        """The integral over all margins, each half line as v = tan(angle)."""
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        angles = torch.as_tensor((nodes + 1) * math.pi / 4)
        places = angles.tan()
        measure = torch.as_tensor(weights * math.pi / 4) / angles.cos() ** 2
        return float(((self(places) + self(-places)) * measure).sum())
