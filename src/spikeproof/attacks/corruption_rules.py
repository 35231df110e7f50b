"""CIFAR-10-C's corruptions with its numbers by severity (see :func:`corrupt`), and what the noises and colours do.

Random ones draw from torch's generator, which the caller has seeded.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spikeproof.attacks.corruption_blurs import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from spikeproof.attacks.corruption_elastic import elastic_transform
from spikeproof.attacks.corruption_spatter import spatter
from spikeproof.attacks.corruption_weather import fog, snow

# By severity, 1 to 5.
SIZES: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # what a white pixel counts
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of the values
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),  # standard deviation, of the value
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # sigma, in pixels
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),  # radius, sigma of the disk's border
    "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),  # sigma, how often
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma; the third and fourth hardly differ
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # where the factors stop
    "snow": (  # see there
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # amount, decay of the roughness
    "spatter": (  # see there
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    "elastic_transform": (  # shares of the shorter side: see there
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # what is left of it
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the HSV value
    "saturate": ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),  # factor and summand
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the size
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
}


def _gaussian_noise(images: Tensor, std: float) -> Tensor:
    return images + std * torch.randn_like(images)


def _shot_noise(images: Tensor, count: float) -> Tensor:
    return torch.poisson(images * count) / count


def _impulse_noise(images: Tensor, share: float) -> Tensor:
    hit = torch.rand_like(images) < share
    return torch.where(hit, (torch.rand_like(images) < 0.5).to(images.dtype), images)


def _speckle_noise(images: Tensor, std: float) -> Tensor:
    return images + images * std * torch.randn_like(images)


def _brightness(images: Tensor, added: float) -> Tensor:
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp_max(1)
    # A black pixel has no hue and turns grey.
    return torch.where(value > 0, images * brighter / torch.where(value > 0, value, 1), brighter)


def _contrast(images: Tensor, left: float) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return mean + left * (images - mean)


def _saturate(images: Tensor, size: tuple[float, float]) -> Tensor:
    """v (1 - s w), with w from 0 for a pixel's largest channel to 1 for its least; grey counts as red."""
    factor, added = size
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    coloured = value > least
    saturation = torch.where(value > 0, (value - least) / torch.where(value > 0, value, 1), 0)
    grey = torch.zeros_like(images)
    if images.shape[1] == 3:
        grey[:, 1:] = 1
    weight = torch.where(coloured, (value - images) / torch.where(coloured, value - least, 1), grey)
    return value * (1 - (saturation * factor + added).clamp(0, 1) * weight)


def _pixelate(images: Tensor, share: float) -> Tensor:
    def changed(picture: Image.Image) -> Image.Image:
        wide, high = picture.size
        small = picture.resize((max(int(wide * share), 1), max(int(high * share), 1)), Image.Resampling.BOX)
        return small.resize((wide, high), Image.Resampling.BOX)

    return _each_picture(images, changed)


def _jpeg_compression(images: Tensor, quality: int) -> Tensor:
    def changed(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _each_picture(images, changed)


def _each_picture(images: Tensor, changed: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Each image in bytes, given to ``changed``: in colour where there are three channels, else by channel."""
    levels = (images * 255).round().byte().cpu().numpy()
    found = np.empty_like(levels)
    for level, place in zip(levels, found, strict=True):
        if len(level) == 3:
            place[:] = np.asarray(changed(Image.fromarray(level.transpose(1, 2, 0)))).transpose(2, 0, 1)
        else:
            for channel, target in zip(level, place, strict=True):
                target[:] = np.asarray(changed(Image.fromarray(channel)))
    return torch.from_numpy(found).to(images) / 255


RULES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": gaussian_blur,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "fog": fog,
    "spatter": spatter,
    "elastic_transform": elastic_transform,
    "contrast": _contrast,
    "brightness": _brightness,
    "saturate": _saturate,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
assert set(RULES) == set(SIZES)
