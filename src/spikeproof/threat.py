"""The threat: a norm ball of allowed perturbations, cut by the box of valid pixels."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError


def parse_radius(value: float | str, what: str = "radius") -> float:
    """A radius in pixel units of [0,1], from a number or text such as "0.03" or "8/255"; ``what`` names it in errors.

    Raises:
        SpikeproofError: not a number, or outside [0, 1].

    Example:
        >>> parse_radius("51/255")
        0.2
    """
    try:
        if isinstance(value, str):
            top, slash, bottom = value.partition("/")
            radius = float(top) / float(bottom) if slash else float(top)
        else:
            radius = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        raise SpikeproofError(f"{value!r} is not a {what}; give a number in [0, 1] such as 0.03 or 8/255.") from None
    if not (math.isfinite(radius) and 0 <= radius <= 1):
        raise SpikeproofError(
            f"A {what} is measured in pixels of [0, 1] and must lie in that range, got {value}; 8/255 is usual."
        )
    return radius


_RADIUS = tyro.constructors.PrimitiveConstructorSpec[float | str | None](
    nargs=1,
    metavar="RADIUS",
    instance_from_str=lambda words: None if words[0] == "None" else parse_radius(words[0]),
    is_instance=lambda value: value is None or isinstance(value, float | int | str),
    str_from_instance=lambda value: [f"{value:.6g}" if isinstance(value, float | int) else str(value)],
)
# A radius (or step size) as a field of a recipe: Python and the command line then take "8/255" too. Its owner turns it
# into a number at the door, and refuses a None where one is needed.
Radius = Annotated[float | str, _RADIUS]
OptionalRadius = Annotated[float | str | None, _RADIUS]


@dataclasses.dataclass(frozen=True)
class Linf:
    """All images within ``radius`` of the original in every pixel, and within [0, 1].

    Args:
        radius: a number in [0, 1] or text like "8/255".

    Example:
        >>> Linf("8/255") == Linf(8 / 255)
        True
    """

    radius: float

    def __init__(self, radius: float | str) -> None:
        object.__setattr__(self, "radius", parse_radius(radius))

    def project(
        self, candidate: Float[Tensor, "n c h w"], original: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The nearest allowed image."""
        lower, upper = (original - self.radius).clamp_min(0), (original + self.radius).clamp_max(1)
        return torch.minimum(torch.maximum(candidate, lower), upper)
