"""The expected hinge of a normal variable, in closed form: for a hinge cost where only moments are known."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def normal_hinge(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], width: float, power: int = 1
) -> Float[Tensor, "*shape"]:
    """E max(0, width - |z|)^power for z ~ N(mean, std^2) and power 1 or 2; differentiable in mean and std.

    With m = -|mean|, s = std, d = width and, for n ~ N(0, 1), G(t) = E max(0, t + n) = t Phi(t) + phi(t) and
    H(t) = E max(0, t + n)^2 = (1 + t^2) Phi(t) + t phi(t)::

        power 1:  s (G((m + d)/s) - 2 G(m/s) + G((m - d)/s))
        power 2:  s^2 (H((m + d)/s) - H((m - d)/s)) - 4 d s G(m/s)

    since the hinge is (z+d)_+ - 2 z_+ + (z-d)_+, and its square (z+d)_+^2 - 4 d z_+ - (z-d)_+^2. These differences
    lose digits where the band is far away or narrow compared with s: hence the mirrored mean, and float64 inside.

    Args:
        mean, std: of z; std > 0.
        width: d, > 0.
        power: 1 or 2.

    Example:
        >>> normal_hinge(torch.tensor(0.0), torch.tensor(1e-3), 0.5)
        tensor(0.4992)
    """
    m, s = -mean.double().abs(), std.double()
    above, at, below = (m + width) / s, m / s, (m - width) / s
    if power == 1:
        expected = s * (_first(above) - 2 * _first(at) + _first(below))
    else:
        expected = s * s * (_second(above) - _second(below)) - 4 * width * s * _first(at)
    return expected.to(mean.dtype)


def _first(t: Tensor) -> Tensor:
    return t * torch.special.ndtr(t) + _density(t)


def _second(t: Tensor) -> Tensor:
    return (1 + t * t) * torch.special.ndtr(t) + t * _density(t)


def _density(t: Tensor) -> Tensor:
    return torch.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
