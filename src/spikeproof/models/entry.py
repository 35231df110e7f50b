"""How images enter a network: large ones are brought down to about 32 pixels, the size these networks are made for."""

from __future__ import annotations

from torch import nn

from spikeproof.models.convolution import Conv3x3


def entry(in_channels: int, channels: int, image_size: int, *, bias: bool = False) -> tuple[nn.Module, int]:
    """The first convolution, and the size of what comes out of it: at most 64.

    Images of 64 pixels enter by a stride of 2, as StoG does, so that the rest is the network of 32 pixels. Three taps
    do not reach every pixel by a larger stride, so of larger images it is averages of k x k pixels that enter by a
    stride of 2, k = image_size / 64.

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
    """What a 3x3 convolution of stride 2 and padding 1 leaves of a size; a 1x1 one without padding leaves as much.

    Example:
        >>> halved(7), halved(8)
        (4, 4)
    """
    return -(-size // 2)
