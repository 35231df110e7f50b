"""The threat: a norm ball of allowed perturbations, cut by the box of valid pixels."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from spikeproof.checked import told
from spikeproof.errors import SpikeproofError

Norm = Literal["linf", "l2"]
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}  # as sentences call them


def parse_eps(value: float | str, what: str = "eps", *, most: float = 1.0) -> float:
    """A radius in pixel units of [0,1], from a number or text such as "0.03" or "8/255"; ``what`` names it in errors.

    Raises:
        SpikeproofError: not a number, or outside [0, ``most``].

    Example:
        >>> parse_eps("51/255")
        0.2
    """
    try:
        if isinstance(value, bool | bytes):
            raise TypeError
        if isinstance(value, str):
            top, slash, bottom = value.partition("/")
            eps = float(top) / float(bottom) if slash else float(top)
        else:
            eps = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, RuntimeError):
        raise SpikeproofError(f"{told(value)} is not a {what}; give a number such as 0.03 or 8/255.") from None
    if most == math.inf and not (math.isfinite(eps) and eps >= 0):
        raise SpikeproofError(f"An L2 {what} must be a finite number >= 0, got {value}; 128/255 is usual.")
    if not 0 <= eps <= most:
        raise SpikeproofError(
            f"A {what} is measured in pixels of [0, 1] and must lie in that range, got {value}; 8/255 is usual."
        )
    return eps


_EPS = tyro.constructors.PrimitiveConstructorSpec[float | str | None](
    nargs=1,
    metavar="EPS",
    instance_from_str=lambda words: None if words[0] == "None" else parse_eps(words[0]),
    is_instance=lambda value: value is None or isinstance(value, float | int | str),
    str_from_instance=lambda value: [f"{value:.6g}" if isinstance(value, float | int) else str(value)],
)
# A radius (or step size) as a field of a recipe: Python and the command line then take "8/255" too. Its owner turns it
# into a number at the door, and refuses a None where one is needed.
Eps = Annotated[float | str, _EPS]
OptionalEps = Annotated[float | str | None, _EPS]


@dataclasses.dataclass(frozen=True)
class Linf:
    """All images within ``eps`` of the original in every pixel, and within [0, 1].

    Args:
        eps: a number in [0, 1] or text like "8/255".

    Example:
        >>> Linf("8/255") == Linf(8 / 255)
        True
    """

    eps: float
    norm: ClassVar[Norm] = "linf"

    def __init__(self, eps: float | str) -> None:
        object.__setattr__(self, "eps", self.parse(eps))

    @staticmethod
    def parse(value: float | str, what: str = "eps") -> float:
        """A distance in this norm, from a number or text (see :func:`parse_eps`)."""
        return parse_eps(value, what)

    def project(
        self, candidate: Float[Tensor, "n c h w"], original: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The nearest allowed image."""
        return (original + (candidate - original).clamp(-self.eps, self.eps)).clamp(0, 1)

    def steepest(self, gradient: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The direction of norm 1 that climbs most: the sign."""
        return gradient.sign()

    def random_direction(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """A direction of norm 1: uniform noise over its largest value; where APGD and SA-PGD start."""
        noise = 2 * torch.rand_like(images) - 1
        return noise / noise.abs().amax((1, 2, 3), keepdim=True)

    def random_start(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """A uniform draw from the ball, clipped to [0, 1]."""
        return self.project(images + (2 * torch.rand_like(images) - 1) * self.eps, images)

    def distance(self, images: Float[Tensor, "n c h w"], others: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """The norm of each difference."""
        return (images - others).abs().flatten(1).amax(1)


@dataclasses.dataclass(frozen=True)
class L2:
    """All images whose difference from the original has a Euclidean norm of at most ``eps``, within [0, 1].

    Args:
        eps: a number >= 0 or text like "128/255"; a whole 3x32x32 image can differ by 55.4.

    Example:
        >>> L2("128/255").eps
        0.5019607843137255
    """

    eps: float
    norm: ClassVar[Norm] = "l2"

    def __init__(self, eps: float | str) -> None:
        object.__setattr__(self, "eps", self.parse(eps))

    @staticmethod
    def parse(value: float | str, what: str = "eps") -> float:
        """A distance in this norm, from a number or text (see :func:`parse_eps`)."""
        return parse_eps(value, what, most=math.inf)

    def project(
        self, candidate: Float[Tensor, "n c h w"], original: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Pulled back to the ball, then clipped to [0, 1], which leaves the ball no more."""
        offset = candidate - original
        length = offset.flatten(1).norm(dim=1)[:, None, None, None]
        return (original + offset * (self.eps / length.clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)

    def steepest(self, gradient: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The direction of norm 1 that climbs most: the gradient over its norm; zero stays zero."""
        # Scaled by the largest value first: squares of tiny gradients would underflow.
        unit = gradient / gradient.abs().flatten(1).amax(1)[:, None, None, None].clamp_min(torch.finfo().tiny)
        return unit / unit.flatten(1).norm(dim=1)[:, None, None, None].clamp_min(1e-12)

    def random_direction(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """A direction of norm 1: normal noise over its length."""
        return self.steepest(torch.randn_like(images))

    def random_start(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """A uniform draw from the ball, clipped to [0, 1]."""
        share = torch.rand(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
        length = self.eps * share ** (1 / images.shape[1:].numel())
        return self.project(images + length * self.random_direction(images), images)

    def distance(self, images: Float[Tensor, "n c h w"], others: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """The norm of each difference."""
        return (images - others).flatten(1).norm(dim=1)


Threat = Linf | L2
BALLS: dict[Norm, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}
