"""Whether data fit a network: the shape of its images, and the number of its classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.spiking_model import SpikingModel
from spikeproof.models.wrapped import unwrapped


def check_fits(
    model: nn.Module,
    *,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    called: str = "this network",
    data: str = "these",
    mend: str = "give the images it was made for",
) -> None:
    """Refuse images or classes that one of our networks was not made for; other networks take anything.

    Args:
        model: any network, also wrapped.
        shape: of an image, [C,H,W], or of frames, [T,C,H,W]; None leaves it unchecked.
        classes: how many there are; None leaves them unchecked.
        called, data, mend: how the message names the network, the images and what to do.

    Raises:
        SpikeproofError: images of another shape, or another number of classes.

    Example:
        >>> from spikeproof.models import create_model
        >>> check_fits(create_model("conv", num_classes=10, image_size=8, in_channels=1), shape=(1, 8, 8), classes=10)
    """
    inner = unwrapped(model)
    if not isinstance(inner, SpikingModel):
        return
    described, network = inner.description, called[0].upper() + called[1:]
    takes = described.sample_shape
    if shape is not None and tuple(shape) != takes:
        steps = "steps, " * (len(takes) == 4)
        kind = "frames" if steps else "images"
        also = (
            f"; frames need a network with the coding Frames and {shape[0]} steps"
            if len(shape) == 4 and not steps
            else ""
        )
        raise SpikeproofError(
            f"{network} takes {kind} of {_by(takes)} ({steps}channels, height, width), and {data} are {_by(shape)}"
            f"{also}; {mend}."
        )
    if classes is not None and classes != described.num_classes:
        raise SpikeproofError(
            f"{network} has {described.num_classes} outputs, and {data} are of {classes} classes; {mend}."
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
