"""How images enter a network: large ones are reduced to about 32 pixels, the size these networks are made for."""

from __future__ import annotations

from torch import nn

from spikeproof.models.convolution import Conv3x3


def entry(in_channels: int, channels: int, image_size: int, *, bias: bool = False) -> tuple[nn.Module, int]:
    """The first layer or two of a network.

    Images of 64 pixels enter by a stride of 2, as in StoG, so that the rest is the network of 32 pixels. With a larger
    stride three taps would leave pixels out. So larger images are first averaged over k x k pixels, k = image_size //
    64.

    Args:
        in_channels: C.
        channels: of the first convolution.
        image_size: H = W, in pixels.
        bias: whether the convolution has one.

    Returns:
        The layers, and the size of what comes out of them: 64 pixels at most.

    Example:
        >>> entry(3, 16, 64)[0].stride, entry(3, 16, 128)[1]
        ((2, 2), 32)
    """
    if image_size < 64:
        return Conv3x3(in_channels, channels, bias=bias), image_size
    square = image_size // 64
    halving = Conv3x3(in_channels, channels, stride=2, bias=bias)
    size = halved(-(-image_size // square))
    if square == 1:
        return halving, size
    return nn.Sequential(nn.AvgPool2d(square, ceil_mode=True), halving), size


def halved(size: int) -> int:
    """The size that a 3x3 convolution of stride 2 and padding 1 gives, as does a 1x1 one without padding: rounded up.

    Args:
        size: of the input, in pixels.

    Example:
        >>> halved(7), halved(8)
        (4, 4)
    """
    return -(-size // 2)
