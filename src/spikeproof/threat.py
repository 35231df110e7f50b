"""The threat: which perturbations are allowed. It is a ball in some norm, within the box [0, 1] of valid pixels."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from spikeproof.checked import told, whole
from spikeproof.errors import SpikeproofError

Norm = Literal["linf", "l2"]
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}  # how sentences write them
# No audit is of such a threat: attacks in them have rows of their own beside an Linf or L2 ball.
OtherNorm = Literal["l1", "l0", "patch", "events"]
EVERY_NORM: dict[Norm | OtherNorm, str] = {
    "linf": "Linf",
    "l2": "L2",
    "l1": "L1",
    "l0": "L0",
    "patch": "a patch",
    "events": "events",
}


def parse_eps(value: float | str, what: str = "eps", *, most: float = 1.0) -> float:
    """Read a radius or another distance, for pixels in [0, 1].

    Args:
        value: a number, or text such as "0.03" or "8/255".
        what: what the message calls it.
        most: the largest value allowed; infinity for L2.

    Raises:
        SpikeproofError: not a number, not finite, or outside [0, ``most``].

    Example:
        >>> parse_eps("51/255")
        0.2
    """
    one = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    try:
        if isinstance(value, bool | bytes):
            raise TypeError
        if isinstance(value, str):
            top, slash, bottom = value.partition("/")
            eps = float(top) / float(bottom) if slash else float(top)
        else:
            eps = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, RuntimeError):
        raise SpikeproofError(f"{told(value)} is not {one}; give a number such as 0.03 or 8/255.") from None
    if most == math.inf and not (math.isfinite(eps) and eps >= 0):
        raise SpikeproofError(f"An L2 or L1 {what} must be a finite number >= 0, got {value}; 128/255 is usual.")
    if not 0 <= eps <= most:
        raise SpikeproofError(
            f"A{one[1:]} is measured in pixels of [0, 1] and must lie in that range, got {value}; 8/255 is usual."
        )
    return eps


# A radius (or step size) as a field of a recipe, so that Python and the command line take "8/255" too. Its owner makes
# a number of it at once, and refuses None where a radius is needed.
Eps = float | str
OptionalEps = float | str | None


@dataclasses.dataclass(frozen=True)
class Linf:
    """The L-infinity threat: all images x' in [0, 1] with max |x' - x| <= eps over all values of the image x.

    Args:
        eps: a number in [0, 1] or text like "8/255".

    Raises:
        SpikeproofError: another eps.

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
        """Read a distance in this norm. Arguments and errors as of :func:`parse_eps`."""
        return parse_eps(value, what)

    def project(
        self, candidate: Float[Tensor, " n *chw"], original: Float[Tensor, " n *chw"]
    ) -> Float[Tensor, " n *chw"]:
        """The nearest allowed image to each candidate.

        Args:
            candidate: any images.
            original: the images that the ball is around, in [0, 1].
        """
        return (original + (candidate - original).clamp(-self.eps, self.eps)).clamp(0, 1)

    def steepest(self, gradient: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image the direction of norm 1 in which the loss climbs most: the gradient's sign.

        Args:
            gradient: of the loss by the images.
        """
        return gradient.sign()

    def random_direction(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image a random direction of norm 1: uniform noise, over its largest value. APGD and SA-PGD take it.

        Args:
            images: only shape, dtype and device count.
        """
        noise = 2 * torch.rand_like(images) - 1
        return noise / _of_each(noise.abs().flatten(1).amax(1), noise)

    def random_start(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image a uniform draw from the ball around it, clipped to [0, 1].

        Args:
            images: in [0, 1].
        """
        return self.project(images + (2 * torch.rand_like(images) - 1) * self.eps, images)

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """The norm of the difference of each pair of images.

        Args:
            images, others: as many of the one as of the other.
        """
        return (images - others).abs().flatten(1).amax(1)


@dataclasses.dataclass(frozen=True)
class L2:
    """The L2 threat: all images x' in [0, 1] with ||x' - x||_2 <= eps for the image x.

    Args:
        eps: a finite number >= 0 or text like "128/255". Two images of 3x32x32 values differ by at most 55.4.

    Raises:
        SpikeproofError: another eps.

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
        """Read a distance in this norm. Arguments and errors as of :func:`parse_eps`."""
        return parse_eps(value, what, most=math.inf)

    def project(
        self, candidate: Float[Tensor, " n *chw"], original: Float[Tensor, " n *chw"]
    ) -> Float[Tensor, " n *chw"]:
        """Scale the change of each image down to norm eps, then clip to [0, 1], which makes no change larger.

        Args:
            candidate: any images.
            original: the images that the ball is around, in [0, 1].
        """
        offset = candidate - original
        length = _of_each(offset.flatten(1).norm(dim=1), offset)
        return (original + offset * (self.eps / length.clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)

    def steepest(self, gradient: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image the direction of norm 1 in which the loss climbs most: the gradient over its norm; 0 stays 0.

        Args:
            gradient: of the loss by the images.
        """
        # Scaled by the largest value first: squares of tiny gradients would underflow.
        unit = gradient / _of_each(gradient.abs().flatten(1).amax(1), gradient).clamp_min(torch.finfo().tiny)
        return unit / _of_each(unit.flatten(1).norm(dim=1), unit).clamp_min(1e-12)

    def random_direction(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image a random direction of norm 1: normal noise, divided by its norm.

        Args:
            images: only shape, dtype and device count.
        """
        return self.steepest(torch.randn_like(images))

    def random_start(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, " n *chw"]:
        """For each image a uniform draw from the ball around it, clipped to [0, 1].

        Args:
            images: in [0, 1].
        """
        share = _of_each(torch.rand(len(images), dtype=images.dtype, device=images.device), images)
        length = self.eps * share ** (1 / images.shape[1:].numel())
        return self.project(images + length * self.random_direction(images), images)

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """The norm of the difference of each pair of images.

        Args:
            images, others: as many of the one as of the other.
        """
        return (images - others).flatten(1).norm(dim=1)


@dataclasses.dataclass(frozen=True)
class L1:
    """All images whose differences from the original, pixel by pixel and channel by channel, add up to at most ``eps``,
    within [0, 1].

    Args:
        eps: a number >= 0 or text; 12 is usual for 3x32x32 images.

    Example:
        >>> ball, image = L1(0.5), torch.tensor([0.5, 0.9]).view(1, 1, 1, 2)
        >>> ball.project(image + torch.tensor([0.6, 0.4]), image)
        tensor([[[[0.9000, 1.0000]]]])
    """

    eps: float
    norm: ClassVar[OtherNorm] = "l1"

    def __init__(self, eps: float | str) -> None:
        object.__setattr__(self, "eps", parse_eps(eps, most=math.inf))

    def project(
        self, candidate: Float[Tensor, " n *chw"], original: Float[Tensor, " n *chw"]
    ) -> Float[Tensor, " n *chw"]:
        """The nearest allowed image, of ball and box together (Croce and Hein 2021)::

            x + sign(d) min(max(|d| - mu, 0), room),   mu >= 0 the least with a sum of at most eps

        room is how far the pixel can go in its direction. mu is halved in on, from the side that is allowed.
        """
        offset = (candidate - original).double()
        size, base = offset.abs(), original.double()
        room = torch.where(offset > 0, 1 - base, base).clamp_min(0)

        def shrunk(by: Tensor) -> Tensor:
            return torch.minimum((size - by).clamp_min(0), room)

        def allows(by: Tensor) -> Tensor:
            return _of_each(shrunk(by).flatten(1).sum(1) <= self.eps, size)

        high = _of_each(size.flatten(1).amax(1), size)
        low = torch.zeros_like(high)
        inside = allows(low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            allowed = allows(middle)
            low, high = torch.where(allowed, low, middle), torch.where(allowed, middle, high)
        moved = offset.sign() * shrunk(torch.where(inside, torch.zeros_like(high), high))
        return (base + moved).to(candidate.dtype).clamp(0, 1)

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """The norm of each difference."""
        return (images - others).abs().flatten(1).sum(1)


@dataclasses.dataclass(frozen=True)
class L0:
    """All images in which at most so many pixels differ from the original, in all their channels, within [0, 1].

    Args:
        eps: how many pixels, a whole number >= 0.

    Example:
        >>> L0(2).distance(torch.tensor([[[[0.0, 1.0, 0.5]]]]), torch.zeros(1, 1, 1, 3))
        tensor([2.])
    """

    eps: float
    norm: ClassVar[OtherNorm] = "l0"

    def __init__(self, eps: int) -> None:
        object.__setattr__(self, "eps", float(whole(eps, "An L0 threat", "eps", 0)))

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """How many pixels differ."""
        return _places(images != others).flatten(1).sum(1).to(images.dtype)


@dataclasses.dataclass(frozen=True)
class Events:
    """All binary frames in which at most so many values differ from the original: events that were added or removed.

    Args:
        eps: how many events, a whole number >= 0.

    Example:
        >>> frames = torch.zeros(1, 4, 2, 3, 3)  # 4 steps, 2 polarities
        >>> more = frames.clone()
        >>> more[0, 1, :, 0, 0] = 1
        >>> Events(2).distance(more, frames)
        tensor([2.])
    """

    eps: float
    norm: ClassVar[OtherNorm] = "events"

    def __init__(self, eps: int) -> None:
        object.__setattr__(self, "eps", float(whole(eps, "A threat of events", "eps", 0)))

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """How many values differ: the L0 norm of the difference."""
        return (images != others).flatten(1).sum(1).to(images.dtype)


@dataclasses.dataclass(frozen=True)
class Patch:
    """All images that differ from the original within one square of so many pixels a side, anywhere, within [0, 1].

    Args:
        eps: the side, a whole number >= 0.

    Example:
        >>> image = torch.zeros(1, 1, 4, 4)
        >>> image[0, 0, 1, 0] = image[0, 0, 2, 2] = 1
        >>> Patch(3).distance(image, torch.zeros(1, 1, 4, 4))
        tensor([3.])
    """

    eps: float
    norm: ClassVar[OtherNorm] = "patch"

    def __init__(self, eps: int) -> None:
        object.__setattr__(self, "eps", float(whole(eps, "A patch", "a side", 0)))

    def distance(self, images: Float[Tensor, " n *chw"], others: Float[Tensor, " n *chw"]) -> Float[Tensor, " n"]:
        """The side of the least square that holds all that differs."""
        changed = _places(images != others)
        return torch.maximum(_extent(changed.any(2)), _extent(changed.any(1))).to(images.dtype)


def _of_each(values: Shaped[Tensor, " n"], like: Float[Tensor, " n *chw"]) -> Shaped[Tensor, " n *ones"]:
    """A value of each image, so that it multiplies images of this shape."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _places(changed: Bool[Tensor, " n *chw"]) -> Bool[Tensor, "n h w"]:
    """The pixels in which anything changed: of frames a pixel is a place of the sensor, in all steps."""
    return changed.flatten(1, -3).any(1)


def _extent(there: Bool[Tensor, "n s"]) -> Int64[Tensor, " n"]:
    """From the first to the last that is there; 0 where none is."""
    if there.shape[1] == 0 or len(there) == 0:
        return torch.zeros(len(there), dtype=torch.int64, device=there.device)
    first, last = there.int().argmax(1), there.shape[1] - 1 - there.flip(1).int().argmax(1)
    return torch.where(there.any(1), last - first + 1, 0)


Threat = Linf | L2
OtherThreat = L1 | L0 | Patch | Events
_HALVINGS = 50
BALLS: dict[Norm, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}
