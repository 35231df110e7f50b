"""CIFAR-10-C's spatter: drops of water or mud where smoothed noise is high.

The noise is drawn from torch's generator, which the caller has seeded: for each image its own.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import correlate, distance_transform_edt, label, sobel, uniform_filter
from torch import Tensor

from spikeproof.attacks.corruption_blurs import gaussian_blur
from spikeproof.attacks.corruption_weather import grey

_WATER, _MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])  # lights the drops from one side
_FAR = 20  # pixels from a drop's edge beyond which it is all the same


def spatter(images: Tensor, size: tuple[float, float, float, float, float, bool]) -> Tensor:
    """The size: the noise's mean and spread, its blur, the least of it that is liquid, the water's strength or the blur
    of the mud, whether it is mud.
    """
    mean, spread, blur, least, strength, mud = size
    n, _, high, wide = images.shape
    noise = mean + spread * torch.randn(n, 1, high, wide, dtype=images.dtype, device=images.device)
    liquid = gaussian_blur(noise, blur)
    liquid = torch.where(liquid < least, 0, liquid)
    if mud:
        cover = gaussian_blur((liquid > 0).to(images.dtype), strength)
        cover = torch.where(cover < 0.8, 0, cover)
        return images * (1 - cover) + cover * _coloured(_MUD, images)
    levels = (liquid * 255).clamp(0, 255).byte()
    lights = np.empty((n, 1, high, wide), np.float32)
    for level, light in zip(levels[:, 0].cpu().numpy(), lights[:, 0], strict=True):
        light[:] = _lit(level)
    drops = levels * torch.from_numpy(lights).to(images)
    most = drops.amax((1, 2, 3), keepdim=True)
    return images + strength * drops / torch.where(most > 0, most, 1) * _coloured(_WATER, images)


def _coloured(colour: tuple[float, float, float], images: Tensor) -> Tensor:
    """The colour as the images have channels; not of three channels: its grey."""
    three = images.new_tensor(colour).reshape(1, 3, 1, 1)
    return three if images.shape[1] == 3 else grey(three)


def _lit(levels: np.ndarray) -> np.ndarray:
    """How the light falls on drops, by each pixel's distance to their edges."""
    edges = _edges(levels)
    far = np.minimum(distance_transform_edt(~edges), _FAR) if edges.any() else np.full(levels.shape, float(_FAR))
    spread = _equalised(uniform_filter(far, 3, mode="mirror").astype(np.int64))
    return uniform_filter(correlate(spread, _RELIEF, mode="mirror").clip(0, 255), 3, mode="mirror")


def _edges(levels: np.ndarray, low: int = 50, high: int = 150) -> np.ndarray:
    """Canny's edges (1986), as OpenCV finds them: maxima of the slope across, joined to a steep one."""
    across, down = (sobel(levels.astype(np.int64), axis, mode="nearest") for axis in (1, 0))
    slope = np.abs(across) + np.abs(down)
    around = np.pad(slope, 1)
    high_side, wide_side = slope.shape

    def beside(rows: int, columns: int) -> np.ndarray:
        return around[1 + rows : 1 + rows + high_side, 1 + columns : 1 + columns + wide_side]

    flat = np.abs(down) < np.tan(np.pi / 8) * np.abs(across)
    steep = np.abs(down) > np.tan(3 * np.pi / 8) * np.abs(across)
    rising = (across < 0) == (down < 0)
    highest = np.select(
        [flat, steep, rising],
        [
            (slope > beside(0, -1)) & (slope >= beside(0, 1)),
            (slope > beside(-1, 0)) & (slope >= beside(1, 0)),
            (slope > beside(-1, -1)) & (slope > beside(1, 1)),
        ],
        (slope > beside(-1, 1)) & (slope > beside(1, -1)),
    )
    parts, _ = label(highest & (slope > low), structure=np.ones((3, 3)))
    return np.isin(parts, np.setdiff1d(parts[highest & (slope > high)], [0]))


def _equalised(levels: np.ndarray) -> np.ndarray:
    """The levels spread over 0 to 255, such that each share of that range has as many pixels."""
    up_to = np.bincount(levels.ravel()).cumsum()
    lowest = up_to[levels.min()]
    if lowest == levels.size:  # all alike
        return levels.astype(float)
    return np.rint((up_to[levels] - lowest) * 255 / (levels.size - lowest))
