"""FEEL's frequency encoding (Xu et al. 2024, NeurIPS): each step keeps fewer of the image's high frequencies.

As its code has it: the modulus of the inverse transform and not its real part (the box of an even size is not
symmetric, so the two differ), and no normalisation afterwards.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.sending import sent


@dataclasses.dataclass(frozen=True)
class Frequency:
    """x[t] = |ifft2(B_r fft2(x))|, B_r keeping the 2r x 2r frequencies -r..r-1 around the mean, r that of step t.

    Args:
        radii: r of each step, whole numbers >= 1. None takes those that the paper gives, 16, 14, 12, ... for 32x32 and
            32, 30, ... for 64x64 images. Where these would reach 0 (more steps, smaller images), it takes as many radii
            in equal steps (see :func:`default_radii`).

    Raises:
        SpikeproofError: radii that are not whole numbers >= 1; in ``encode``, another number of radii than of steps.

    Example:
        >>> frames = Frequency().encode(torch.rand(2, 3, 32, 32), num_steps=4)
        >>> frames.shape
        torch.Size([4, 2, 3, 32, 32])

    Source: Xu et al. 2024 (NeurIPS, FEEL), as its code has it: the modulus, not the real part, and no normalisation.
    """

    radii: tuple[int, ...] | None = None

    constant = False
    random = False
    normalised = False

    def __post_init__(self) -> None:
        if self.radii is None:
            return
        whole = all(isinstance(radius, int) and not isinstance(radius, bool) for radius in self.radii)
        if not self.radii or not whole or min(self.radii) < 1:
            raise SpikeproofError(
                f"Frequency coding needs a whole number >= 1 as the radius of each step, got {self.radii}; as text, "
                "write 'frequency(16/14/12/10)'."
            )

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """The image of each step, low frequencies only.

        Args:
            images, num_steps: as in :class:`Coding`.

        Raises:
            SpikeproofError: another number of radii than of steps.
        """
        height, width = images.shape[-2:]
        radii = default_radii(max(height, width), num_steps) if self.radii is None else self.radii
        if len(radii) != num_steps:
            raise SpikeproofError(
                f"This frequency coding has {len(radii)} radii and the model {num_steps} steps; give one radius for "
                "each step, or none for the paper's."
            )
        if images.shape[0] == 0:
            return images.expand(num_steps, *images.shape)  # PyTorch refuses to transform an empty tensor
        spectrum = torch.fft.fft2(images.to(torch.promote_types(images.dtype, torch.float32)))
        boxes = torch.stack([_kept(height, radius)[:, None] & _kept(width, radius) for radius in radii])
        kept: Complex[Tensor, "t n c h w"] = spectrum * sent(boxes[:, None, None], images.device)
        # The derivative of the modulus at 0 is taken as 0 (torch does so), and so is never NaN.
        return torch.fft.ifft2(kept).abs().to(images.dtype)


def default_radii(size: int, num_steps: int) -> tuple[int, ...]:
    """From half the size, which keeps all, down by 2 a step; by less where 2 would leave a step without a frequency.

    Args:
        size: the larger of an image's height and width, in pixels.
        num_steps: T.

    Example:
        >>> default_radii(32, 8), default_radii(64, 4), default_radii(8, 4)
        ((16, 14, 12, 10, 8, 6, 4, 2), (32, 30, 28, 26), (4, 3, 2, 1))
    """
    largest = -(-size // 2)
    if 2 * num_steps <= largest:
        return tuple(largest - 2 * step for step in range(num_steps))
    return tuple(-(-largest * (num_steps - step) // num_steps) for step in range(num_steps))


def _kept(size: int, radius: int) -> Tensor:
    """Which of the frequencies, in the order of ``fft``, lie within the radius."""
    from_mean = torch.arange(size) - size // 2
    return torch.fft.ifftshift((from_mean >= -radius) & (from_mean < radius))
