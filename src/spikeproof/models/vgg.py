"""VGG5, VGG11 and VGG16 as SNN-RAT (Ding et al. 2022) defines them, and a small net for 8x8 digits.

Each number is a 3x3 convolution with bias, a batch norm and a site; "A" is an average pooling. Then come twice a linear
layer and a site, and a linear readout. Not the textbook VGGs: vgg11 has four pooling-free blocks after the third pool,
the head has no norm and no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.convolution import Conv3x3
from spikeproof.models.entry import entry
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
    """The stem and body of a VGG.

    Args:
        layout: channels of each convolution, "A" for a pooling.
        head: features of each hidden linear layer.
        new_site: makes the sites, with neuron, steps and norm.
        in_channels: C.
        image_size: H = W, in pixels. Large images enter by a stride (see ``entry``).
        num_classes: K.
        width: factor on every channel count and hidden feature count.

    Returns:
        Stem and body, as :class:`SpikingModel` takes them.

    Raises:
        SpikeproofError: images too small for the network.
    """
    channels = scaled(int(layout[0]), width)
    stem, size = entry(in_channels, channels, image_size, bias=True)
    layers: list[nn.Module] = []
    for now, following in zip(layout, [*layout[1:], ""], strict=True):
        if now == "A":
            size //= 2
            continue
        out, first = scaled(int(now), width), not layers
        if not first:
            layers.append(Conv3x3(channels, out))
        layers.append(new_site(out, pool=2 if following == "A" else 1, constant=first))
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
    body = nn.Sequential(*layers, nn.Flatten(), *linear, nn.Linear(features, num_classes))
    initialise(stem)
    initialise(body)
    return stem, body


def scaled(channels: int, width: float) -> int:
    """A channel count times ``width``, at least 1."""
    return max(1, round(channels * width))


# Parameters for K = 10: vgg11 61,377,034.
NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "conv": partial(build_vgg, CONV, (128,)),
    "vgg5": partial(build_vgg, VGG5, (4096, 4096)),
    "vgg11": partial(build_vgg, VGG11, (4096, 4096)),
    "vgg16": partial(build_vgg, VGG16, (4096, 4096)),
}
