"""The digits as an event camera might see them: synthetic frames, for trying things out without a download.

CIFAR10-DVS and DVS-Gesture may not be passed on with a library. Here each of scikit-learn's digits moves on a triangle,
as the camera does before N-MNIST's digits (Orchard et al. 2015), and a pixel has an event where its brightness changes.
It is simpler than what a camera sees: no noise, no leak events, one threshold for all pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from spikeproof.data.digits import open_digits
from spikeproof.data.pool import ImagePool, pool_of_pixels

_SIZE = 12
_BEGIN = (1, 0)  # of the digit's upper left corner: down, across
_MOVES = ((1, 1), (1, 1), (-1, 1), (-1, 1), (0, -2), (0, -2))  # one for each frame; they end where they began
_NOTES = ("synthetic events of moving digits, of no camera",)
_THRESHOLD = 64  # of 255: the change of brightness that makes an event


def open_digits_events() -> tuple[ImagePool, ImagePool]:
    """The 1797 digits, split as ``digits`` is, each as 6 binary frames of 2x12x12.

    Channel 0 has an event where a pixel became brighter by 64 of 255 or more, channel 1 where it became darker.

    Returns:
        (train, test), frames uint8 ``[N, 6, 2, 12, 12]`` of 0 and 255.

    Example:
        >>> train, test = open_digits_events()
        >>> test.read(torch.tensor([0])).images.unique().tolist()
        [0, 255]
    """
    train, test = open_digits()
    return _moving(train), _moving(test)


def _moving(pool: ImagePool) -> ImagePool:
    images = pool.read(torch.arange(len(pool))).images
    source = pool.source.replace("digits'", "digit events'")
    return pool_of_pixels(source, _events(images), pool.labels, pool.class_names, _NOTES)


def _events(images: UInt8[Tensor, "n 1 h w"]) -> UInt8[Tensor, "n t 2 h2 w2"]:
    down, across = _BEGIN
    seen = [_placed(images, down, across)]
    for by_down, by_across in _MOVES:
        down, across = down + by_down, across + by_across
        seen.append(_placed(images, down, across))
    change = torch.stack(seen, 1).short().diff(dim=1)  # [N,T,1,H,W]
    return torch.cat([change >= _THRESHOLD, change <= -_THRESHOLD], 2).byte() * 255


def _placed(images: Tensor, down: int, across: int) -> Tensor:
    """The images on a black field, with their upper left corner there."""
    height, width = images.shape[-2:]
    field = images.new_zeros(len(images), 1, _SIZE, _SIZE)
    field[:, :, down : down + height, across : across + width] = images
    return field
