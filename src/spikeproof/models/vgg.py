"""VGG5, VGG11 and VGG16 as SNN-RAT (Ding et al. 2022) defines them, and a small net for 8x8 digits.

conv3x3 (bias) - BatchNorm - site per number, average pooling after it at "A"; then Linear - site twice and a Linear
readout. Not the textbook VGGs: vgg11 has four pooling-free blocks after the third pool, the head has no norm and no
dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.convolution import Conv3x3
from spikeproof.models.spiking_model import SiteFactory, initialise

VGG5: tuple[int | str, ...] = (64, "A", 128, 128, "A")
VGG11: tuple[int | str, ...] = (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)
VGG16: tuple[int | str, ...] = (64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512, "A")
CONV: tuple[int | str, ...] = (16, "A", 32, "A")


def build_vgg(
    layout: Sequence[int | str],
    head: Sequence[int],
    *,
    new_site: SiteFactory,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float,
) -> tuple[nn.Module, nn.Module]:
    """The stem and body of a VGG (see :class:`SpikingModel`).

    ``width`` multiplies every channel count and hidden feature count. Images larger than 32 pixels enter through a
    first convolution of stride image_size / 32, as StoG does for 64x64, so the rest is the 32x32 network.
    """
    stride = max(1, image_size // 32)
    size, channels = math.ceil(image_size / stride), in_channels
    layers: list[nn.Module] = []
    for entry, following in zip(layout, [*layout[1:], ""], strict=True):
        if entry == "A":
            size //= 2
            continue
        out, first = scaled(int(entry), width), not layers
        pool = 2 if following == "A" else 1
        layers.append(Conv3x3(channels, out, stride=stride if first else 1))
        layers.append(new_site(out, pool=pool, constant=first))
        channels = out
    if size < 1:
        raise SpikeproofError(
            f"Images of {image_size} pixels are too small for this network's {list(layout).count('A')} poolings; "
            "use a shallower network (vgg5, conv) or larger images."
        )
    features, linear = channels * size * size, []
    for hidden in head:
        linear += [nn.Linear(features, scaled(hidden, width)), new_site()]
        features = scaled(hidden, width)
    stem, *rest = layers
    body = nn.Sequential(*rest, nn.Flatten(), *linear, nn.Linear(features, num_classes))
    initialise(stem)
    initialise(body)
    return stem, body


def scaled(channels: int, width: float) -> int:
    """A channel count times ``width``, at least 1."""
    return max(1, round(channels * width))
