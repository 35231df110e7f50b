"""Surrogates h(v): the backward stand-in for ds/dv at a margin v = u - threshold.

Sources: triangle (Esser et al. 2016; Jiang et al. 2026, MPD-SGR Eq. 7), rectangular (Wu et al. 2018), sigmoid and
arctan (Fang et al. 2021), SuperSpike (Zenke and Ganguli 2018).

Each surrogate also states its *window*, the half-width g of the interval [-g, g] that MPD-SGR calls
gradient-available (Eq. 10). A compact surrogate's window is its support. The others have an unbounded support, so their
window is the half-width of the triangle that has the same peak and the same mass: g = mass / h(0). With the default
slopes this gives 1 for all three, the window of the default triangle.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from spikeproof.calls import read_call
from spikeproof.checked import check_sizes
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields


@runtime_checkable
class Surrogate(Protocol):
    """What a site needs of a surrogate: its value at a margin, and its window."""

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        ...

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """h(v), elementwise, non-negative."""
        ...


# Where the two branches of a rectifier meet.
_RECTIFIED_EDGE = math.tanh(1.5)


def _require_positive(owner: str, name: str, value: float) -> None:
    check_sizes(owner, {name: value})
    if not (math.isfinite(value) and value > 0):
        raise SpikeproofError(f"{owner} needs {name} > 0, got {value}; give a positive number.")


@check_fields
@dataclasses.dataclass(frozen=True)
class Triangle:
    """h(v) = max(0, gamma - |v|) / gamma^2: support [-gamma, gamma], peak 1/gamma, mass 1.

    Args:
        gamma: half-width, in units of the potential, > 0.

    Raises:
        SpikeproofError: a gamma that is not positive.

    Example:
        >>> Triangle(gamma=1.0)(torch.tensor([-0.5, 0.0, 2.0]))
        tensor([0.5000, 1.0000, 0.0000])

    Source: Esser et al. 2016 (PNAS); MPD-SGR Eq. 7 (Jiang et al. 2026).
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("Triangle", "gamma", self.gamma)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return self.gamma

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (self.gamma - margin.abs()).clamp_min(0) / self.gamma**2


@check_fields
@dataclasses.dataclass(frozen=True)
class Rectangular:
    """h(v) = 1[|v| < gamma/2] / gamma: support [-gamma/2, gamma/2], mass 1.

    Args:
        gamma: whole width, in units of the potential, > 0.

    Raises:
        SpikeproofError: a gamma that is not positive.

    Example:
        >>> Rectangular(gamma=1.0)(torch.tensor([-0.4, 0.6]))
        tensor([1., 0.])

    Source: Wu et al. 2018 (STBP), their h_1.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("Rectangular", "gamma", self.gamma)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return self.gamma / 2

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (margin.abs() < self.gamma / 2).to(margin.dtype) / self.gamma


@check_fields
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """h(v) = alpha s(alpha v) (1 - s(alpha v)) with s the logistic function: peak alpha/4, mass 1, unbounded support.

    Args:
        alpha: steepness, > 0.

    Raises:
        SpikeproofError: an alpha that is not positive.

    Example:
        >>> Sigmoid(alpha=4.0)(torch.tensor(0.0))
        tensor(1.)

    Source: Fang et al. 2021, in SpikingJelly.
    """

    alpha: float = 4.0

    def __post_init__(self) -> None:
        _require_positive("Sigmoid", "alpha", self.alpha)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return 4 / self.alpha

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        half = torch.sigmoid(self.alpha * margin)
        return self.alpha * half * (1 - half)


@check_fields
@dataclasses.dataclass(frozen=True)
class SuperSpike:
    """h(v) = 1 / (1 + beta |v|)^2: peak 1, mass 2/beta, unbounded support.

    Args:
        beta: steepness, > 0; 2 makes the mass 1, as in the others.

    Raises:
        SpikeproofError: a beta that is not positive.

    Example:
        >>> SuperSpike(beta=2.0)(torch.tensor([0.0, 0.5]))
        tensor([1.0000, 0.2500])

    Source: Zenke and Ganguli 2018, the derivative of a fast sigmoid.
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        _require_positive("SuperSpike", "beta", self.beta)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return 2 / self.beta

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return 1 / (1 + self.beta * margin.abs()) ** 2


@check_fields
@dataclasses.dataclass(frozen=True)
class ArcTan:
    """h(v) = alpha/2 / (1 + (pi/2 alpha v)^2): peak alpha/2, mass 1, unbounded support.

    Args:
        alpha: steepness, > 0.

    Raises:
        SpikeproofError: an alpha that is not positive.

    Example:
        >>> ArcTan(alpha=2.0)(torch.tensor(0.0))
        tensor(1.)

    Source: Fang et al. 2021 (PLIF).
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _require_positive("ArcTan", "alpha", self.alpha)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return 2 / self.alpha

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * margin) ** 2)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """h(v) = exp(-(v - centre)^2 / (2 sigma^2)) / (sqrt(2 pi) sigma): mass 1, unbounded support.

    Args:
        sigma: standard deviation, in units of the potential, > 0.
        centre: where the peak lies; 0 is the threshold.

    Raises:
        SpikeproofError: a sigma that is not positive, or a centre that is not finite.

    Example:
        >>> Gaussian(sigma=1.0)(torch.tensor(0.0))
        tensor(0.3989)
    """

    sigma: float = 1.0
    centre: float = 0.0

    def __post_init__(self) -> None:
        _require_positive("Gaussian", "sigma", self.sigma)
        if not math.isfinite(self.centre):
            raise SpikeproofError(f"Gaussian needs a finite centre, got {self.centre}; 0 is the threshold.")

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return math.sqrt(2 * math.pi) * self.sigma

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        unit = (margin - self.centre) / self.sigma
        return torch.exp(-0.5 * unit * unit) / (math.sqrt(2 * math.pi) * self.sigma)


@dataclasses.dataclass(frozen=True)
class RectifiedTriangle:
    """The triangle behind a membrane potential rectifier (see :mod:`spikeproof.defenses.inflor`)::

        h(v) = triangle(2 threshold f(w)) f'(w),  w = v / (2 threshold)
        f(w) = tanh(3 w) / (2 tanh(3/2)) for |w| <= 1/2, and sign(w) ((|w| + 1/2)^(1/3) - 1/2) beyond

    Even, mass 1, peak 3 / (2 tanh(3/2)) = 1.66 times the triangle's. Its support ends where the rectified margin is
    gamma. If gamma is the threshold, that is where the triangle's support ends.

    Args:
        gamma: half-width of the triangle, > 0.
        threshold: of the neuron, > 0; f does not move margins of 0 and of plus or minus one threshold.

    Raises:
        SpikeproofError: a gamma or threshold that is not positive.

    Example:
        >>> RectifiedTriangle()(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.6572, 0.2949, 0.0000])
    """

    gamma: float = 1.0
    threshold: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("RectifiedTriangle", "gamma", self.gamma)
        _require_positive("RectifiedTriangle", "threshold", self.threshold)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        edge = self.gamma / (2 * self.threshold)
        inside = math.atanh(2 * edge * _RECTIFIED_EDGE) / 3 if edge <= 0.5 else (edge + 0.5) ** 3 - 0.5
        return 2 * self.threshold * inside

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        wide = 2 * self.threshold
        distance = margin.abs() / wide
        bent, far = torch.tanh(3 * distance), (distance + 0.5) ** (1 / 3)
        middle = distance <= 0.5
        rectified = torch.where(middle, bent / (2 * _RECTIFIED_EDGE), far - 0.5)
        slope = torch.where(middle, 1.5 / _RECTIFIED_EDGE * (1 - bent * bent), 1 / (3 * far * far))
        return (self.gamma - wide * rectified).clamp_min(0) / self.gamma**2 * slope


# The two shapes below are for attacks alone (no paper here trains with them): no recipe or weights file names them.


@dataclasses.dataclass(frozen=True)
class Exponential:
    """h(v) = scale exp(-decay |v|): peak scale, mass 2 scale / decay (Ozdenizci and Legenstein 2024).

    Args:
        scale: the peak, > 0.
        decay: of the exponential, per unit of the potential, > 0.

    Raises:
        SpikeproofError: a scale or decay that is not positive.

    Example:
        >>> Exponential(scale=0.3, decay=1.0)(torch.tensor(0.0))
        tensor(0.3000)
    """

    scale: float = 1.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("Exponential", "scale", self.scale)
        _require_positive("Exponential", "decay", self.decay)

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return 2 / self.decay

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.scale * torch.exp(-self.decay * margin.abs())


@dataclasses.dataclass(frozen=True)
class StraightThrough:
    """h(v) = 1 everywhere: the spike's gradient is passed on unchanged. The window is infinite.

    Example:
        >>> StraightThrough()(torch.tensor([-9.0, 9.0]))
        tensor([1., 1.])
    """

    @property
    def window(self) -> float:
        """Half-width of the gradient-available interval, in units of the potential."""
        return math.inf

    def __call__(self, margin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.ones_like(margin)


Trainable = Triangle | Rectangular | Sigmoid | SuperSpike | ArcTan | Gaussian | RectifiedTriangle

# A new one needs a place here and in the type above: the command line, recipes and weights read this.
SURROGATES: dict[str, type[Trainable]] = {
    kind.__name__: kind for kind in (Triangle, Rectangular, Sigmoid, SuperSpike, ArcTan, Gaussian, RectifiedTriangle)
}


def parse_surrogate(text: str, **further: type[Surrogate]) -> Surrogate:
    """A surrogate from text: its name in any case, and its parameters if not the defaults.

    Args:
        text: such as "triangle" or "sigmoid(2.5)".
        further: surrogates beside those that networks are trained with, by the names that the text may give.

    Raises:
        SpikeproofError: an unknown name, or a parameter that is not a number or not a possible one.

    Example:
        >>> parse_surrogate("triangle"), parse_surrogate("sigmoid(2.5)")
        (Triangle(gamma=1.0), Sigmoid(alpha=2.5))
    """
    made: Surrogate = read_call(text, SURROGATES | further, "surrogate", "triangle(0.5)")
    return made


# A surrogate as a field of a recipe.
SurrogateField = Annotated[
    Trainable, Doc(f"The backward of a spike: {', '.join(str(kind()).lower() for kind in SURROGATES.values())}.")
]
