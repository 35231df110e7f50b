"""Random crop, horizontal flip and Cutout for a whole batch at once, on the images' device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from spikeproof.checked import MOST, whole
from spikeproof.sending import sent


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The field's standard augmentation: zero-padded random crop, then flip, then Cutout.

    Cutout zeroes one square whose centre is uniform over the image, so that the border clips it for some images; with
    side L and centre c it spans the pixels ``c - L // 2 .. c - L // 2 + L - 1``.

    Args:
        crop_padding: pixels of zeros around the image before an H x W window is cropped from it; 0 for no crop.
        flip: mirror each image left to right with probability 1/2.
        cutout: side of the hole in pixels; 0 for no hole.

    Raises:
        SpikeproofError: when ``crop_padding`` or ``cutout`` is no whole number >= 0.

    Example:
        >>> import torch
        >>> images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
        >>> augment = Augmentation(crop_padding=0, cutout=16)
        >>> augment(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 32, 32])

    References:
        DeVries & Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017. Deviation: an odd
        side keeps its length, where their code would cut a square of L - 1.
    """

    crop_padding: int = 4
    flip: bool = True
    cutout: int = 16

    def __post_init__(self) -> None:
        for option, pixels in (("crop_padding", self.crop_padding), ("cutout", self.cutout)):
            whole(pixels, "An augmentation", option, 0, MOST)

    def __call__(self, images: UInt8[Tensor, " n *chw"], generator: torch.Generator) -> UInt8[Tensor, " n *chw"]:
        """Augment uint8 ``[N, C, H, W]`` images or ``[N, T, C, H, W]`` frames, each sample with draws of its own.

        Args:
            images: on any device; not changed.
            generator: on any device; the draws are made on it and moved to the images, so that one CPU seed gives the
                same augmentation on every device.

        Returns:
            uint8 of the same shape on the images' device; ``images`` itself when everything is off.
        """
        if images.ndim == 5:  # all frames of a sample alike
            return self(images.flatten(1, 2), generator).view(images.shape)
        if self.crop_padding or self.flip:
            images = self._crop_and_flip(images, generator)
        if self.cutout:
            images = self._cut_out(images, generator)
        return images

    def _crop_and_flip(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, channels, height, width = images.shape
        padding = self.crop_padding
        rows = _window(_draw(count, 2 * padding + 1, generator, images.device), height)
        columns = _window(_draw(count, 2 * padding + 1, generator, images.device), width)
        if self.flip:
            mirrored = _draw(count, 2, generator, images.device).bool()
            # Reading the window's columns backwards is the flip: one gather does both.
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        image = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        padded = functional.pad(images, (padding,) * 4)
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _cut_out(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        in_rows = self._in_hole(_draw(count, height, generator, images.device), height)
        in_columns = self._in_hole(_draw(count, width, generator, images.device), width)
        hole = in_rows[:, :, None] & in_columns[:, None, :]
        return images.masked_fill(hole[:, None], 0)

    def _in_hole(self, centre: Tensor, size: int) -> Tensor:
        """For each image, which of ``size`` coordinates the hole covers: bool ``[N, size]``."""
        from_start = torch.arange(size, device=centre.device) - (centre[:, None] - self.cutout // 2)
        return (from_start >= 0) & (from_start < self.cutout)


def _draw(count: int, bound: int, generator: torch.Generator, device: torch.device) -> Int64[Tensor, " n"]:
    """``count`` whole numbers, uniform over ``0 .. bound - 1``."""
    return sent(torch.randint(bound, (count,), generator=generator, device=generator.device), device)


def _window(start: Int64[Tensor, " n"], size: int) -> Int64[Tensor, "n size"]:
    """Coordinates ``start .. start + size - 1`` of each image."""
    return start[:, None] + torch.arange(size, device=start.device)
