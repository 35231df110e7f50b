"""CIFAR-10-C's elastic transform: a random affine map, then a smooth random field that moves each pixel.

Both are drawn from torch's generator, which the caller has seeded: one for each image.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import grid_sample


def elastic_transform(images: Tensor, size: tuple[float, float, float]) -> Tensor:
    """The size: how far the field moves pixels, its Gaussian's sigma, how far the affine map moves three points.

    All are shares of the shorter side, as in the benchmark's code.
    """
    n, _, high, wide = images.shape
    side = min(high, wide)
    far, sigma, shift = (share * side for share in size)
    row = torch.arange(high, dtype=images.dtype, device=images.device)[:, None].expand(high, wide)
    column = torch.arange(wide, dtype=images.dtype, device=images.device).expand(high, wide)
    moved = _sampled(images, *_affine(row, column, n, shift), edges="mirror")
    field = torch.empty(n, 2, high, wide, dtype=images.dtype, device=images.device).uniform_(-1, 1)
    if far:
        field = far * (_smoothing(high, sigma).to(images) @ field @ _smoothing(wide, sigma).to(images).mT)
        moved = _sampled(moved, row + field[:, 0], column + field[:, 1], edges="reflect")
    return moved


def _affine(row: Tensor, column: Tensor, n: int, shift: float) -> tuple[Tensor, Tensor]:
    """For each pixel of n images the place that it comes from, by a map that moves three points near the middle."""
    high, wide = row.shape
    arm = max(min(high, wide) // 3, 1)
    middle = (wide // 2, high // 2)
    ends = [(middle[0] + a * arm, middle[1] + b * arm) for a, b in ((1, 1), (1, -1), (-1, -1))]
    points = row.new_tensor(ends)
    come = points + row.new_empty(n, 3, 2).uniform_(-shift, shift)
    back = torch.linalg.solve_ex(torch.cat([come, torch.ones_like(come[..., :1])], 2), points.expand(n, 3, 2)).result
    places = torch.stack([column, row, torch.ones_like(row)], 2).flatten(0, 1) @ back
    return places[..., 1].reshape(n, high, wide), places[..., 0].reshape(n, high, wide)


def _sampled(images: Tensor, rows: Tensor, columns: Tensor, *, edges: str) -> Tensor:
    """The images at these places, linear between pixels; beyond the edges as ``scipy.ndimage`` calls it."""
    high, wide = images.shape[2:]
    at_centres = edges == "mirror"  # mirrored at the centre of the last pixel, else at its outer edge
    if at_centres:
        across, down = 2 * columns / max(wide - 1, 1) - 1, 2 * rows / max(high - 1, 1) - 1
    else:
        across, down = (2 * columns + 1) / wide - 1, (2 * rows + 1) / high - 1
    grid = torch.stack([across, down], 3)
    return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=at_centres)


def _smoothing(side: int, sigma: float) -> Tensor:
    """The matrix that smooths a column of so many pixels by a Gaussian, cut at 3 sigma."""
    return torch.from_numpy(gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=3.0))
