"""Fog and snow as CIFAR-10-C has them. Frost is not here: it is photographs of ice, which are not ours to ship.

All is drawn from torch's generator, which the caller has seeded: for each image its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikeproof.attacks.corruption_blurs import magnified, streaked

_LUMINANCE = (0.299, 0.587, 0.114)


def fog(images: Tensor, size: tuple[float, float]) -> Tensor:
    """A plasma fractal is added, by which the image's brightest value may not grow; size: amount, decay."""
    amount, decay = size
    n, _, high, wide = images.shape
    most = images.amax((1, 2, 3), keepdim=True)
    cloud = _plasma(images.new_zeros(n, *(2 * [2 ** max(math.ceil(math.log2(max(high, wide))), 1)])), decay)
    return (images + amount * cloud[:, None, :high, :wide]) * most / (most + amount)


def _plasma(heights: Tensor, decay: float) -> Tensor:
    """Diamonds and squares on a torus whose sides are a power of two, for each image; from 0 to 1."""
    step, wobble = heights.shape[1], 100.0

    def around(total: Tensor) -> Tensor:
        return total / 4 + wobble * torch.empty_like(total).uniform_(-wobble, wobble)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = around(pairs + pairs.roll(-1, 2))
        middles = heights[:, half::step, half::step]
        beside, above = corners + corners.roll(-1, 2), corners + corners.roll(-1, 1)
        heights[:, ::step, half::step] = around(middles + middles.roll(1, 1) + beside)
        heights[:, half::step, ::step] = around(middles + middles.roll(1, 2) + above)
        step, wobble = half, wobble / decay
    heights = heights - heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)


def snow(images: Tensor, size: tuple[float, float, float, float, int, float, float]) -> Tensor:
    """The image paler, and streaks of noise on it, twice: as they fall, and turned by half a turn.

    The size: the noise's mean and spread, its magnification, the least of it that is a flake, radius and sigma of the
    streaks, the image's share.
    """
    mean, spread, factor, least, radius, sigma, share = size
    n, _, high, wide = images.shape
    flakes = magnified(mean + spread * torch.randn(n, 1, high, wide, dtype=images.dtype, device=images.device), factor)
    flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
    streaks = streaked(flakes, (radius, sigma), -135, -45)
    pale = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return share * images + (1 - share) * pale + streaks + streaks.flip(2, 3)


def grey(images: Tensor) -> Tensor:
    """The luminance of three channels; of another number the mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(_LUMINANCE)[:, None, None]).sum(1, keepdim=True)
