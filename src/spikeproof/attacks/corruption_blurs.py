"""The blurs of CIFAR-10-C: what each does to images, for the sizes that ``corruption_rules`` lists.

Angles and jumps are drawn from torch's generator, which the caller has seeded: one for each image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (weights / weights.sum()).reshape(1, 1, 1, -1)
    grey = pad(images.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")  # each channel for itself
    return conv2d(conv2d(grey, kernel), kernel.mT).reshape(images.shape)


def defocus_blur(images: Tensor, size: tuple[float, float]) -> Tensor:
    """A disk whose border is softened by a Gaussian of 3 x 3 taps."""
    radius, sigma = size
    reach = int(radius) + 1
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    disk = (offsets[:, None].square() + offsets.square() <= radius**2).to(images.dtype)
    taps = torch.exp(-0.5 * (torch.arange(-1, 2, dtype=images.dtype, device=images.device) / sigma).square())
    soft = torch.outer(taps, taps) / taps.sum().square()
    kernel = conv2d((disk / disk.sum())[None, None], soft[None, None], padding=1)
    mode = "reflect" if min(images.shape[2:]) > reach else "replicate"
    grey = pad(images.flatten(0, 1)[:, None], (reach,) * 4, mode=mode)
    return conv2d(grey, kernel).reshape(images.shape)


def glass_blur(images: Tensor, size: tuple[float, int]) -> Tensor:
    """A blur, pixels that copy a neighbour above or to the left, and the blur again.

    The benchmark's code means to swap pixels. It swaps views of one array, so the neighbour keeps its value; and its
    jumps go from -1 to 0. It leaves out the first two rows and columns.
    """
    sigma, times = size
    n, channels, high, wide = images.shape
    jumps = torch.randint(0, 2, (n, times, 2, high, wide), device=images.device)
    jumps[..., :2, :], jumps[..., :2] = 0, 0
    row = torch.arange(high, device=images.device)[:, None]
    column = torch.arange(wide, device=images.device)
    pixels = gaussian_blur(images, sigma).flatten(2)
    for jump in jumps.unbind(1):
        come_from = ((row - jump[:, 0]) * wide + column - jump[:, 1]).flatten(1)
        pixels = pixels.gather(2, come_from[:, None].expand(-1, channels, -1))
    return gaussian_blur(pixels.reshape(images.shape), sigma)


def motion_blur(images: Tensor, size: tuple[int, float]) -> Tensor:
    return streaked(images, size, -45, 45)


def streaked(images: Tensor, size: tuple[int, float], least: float, most: float) -> Tensor:
    """ImageMagick's motion blur: half a Gaussian of 2 r + 1 taps along a line of whole pixels, edges repeated.

    Args:
        size: r and the Gaussian's sigma.
        least, most: between which the angle of each image is drawn, in degrees.
    """
    radius, sigma = size
    n, channels, high, wide = images.shape
    angles = torch.empty(n, 1, dtype=images.dtype, device=images.device).uniform_(least, most).deg2rad()
    steps = torch.arange(2 * radius + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (steps / sigma).square())
    weights = weights / weights.sum()
    down, right = ((steps * along - 0.5).ceil().long() for along in (angles.sin(), angles.cos()))
    row = torch.arange(high, device=images.device)[:, None]
    column = torch.arange(wide, device=images.device)
    pixels, blurred = images.flatten(2), torch.zeros_like(images)
    for step in range(2 * radius + 1):
        rows = (row + down[:, step, None, None]).clamp(0, high - 1)
        columns = (column + right[:, step, None, None]).clamp(0, wide - 1)
        come_from = (rows * wide + columns).flatten(1)[:, None].expand(-1, channels, -1)
        blurred += weights[step] * pixels.gather(2, come_from).reshape(images.shape)
    return blurred


def zoom_blur(images: Tensor, stop: float) -> Tensor:
    """The mean of the image and of its magnifications by 1, 1.01, ... up to the stop."""
    factors = np.arange(1, stop, 0.01)  # of which the stop is sometimes the last, as floats round
    return (images + sum(magnified(images, float(factor)) for factor in factors)) / (len(factors) + 1)


def magnified(images: Tensor, factor: float) -> Tensor:
    """The middle of the images, as large as they were: corner pixels stay corner pixels, linear between them."""
    high, wide = images.shape[2:]
    rows, columns = math.ceil(high / factor), math.ceil(wide / factor)
    top, left = (high - rows) // 2, (wide - columns) // 2
    middle = images[:, :, top : top + rows, left : left + columns]
    size = (round(rows * factor), round(columns * factor))
    larger = interpolate(middle, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    return larger[:, :, top : top + high, left : left + wide]
