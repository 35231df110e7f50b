"""Direct coding: the image itself at every step, as a current (the default of every paper here)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Direct:
    """x[t] = x, normalised.

    Example:
        >>> import torch
        >>> Direct().encode(torch.rand(2, 3, 4, 4), num_steps=8).shape
        torch.Size([1, 2, 3, 4, 4])

    Source: Rueckauer et al. 2017, "analog input"; the default of every paper reproduced here.
    """

    constant = True
    random = False
    normalised = True

    def encode(self, images: Float[Tensor, "n c h w"], num_steps: int) -> Float[Tensor, "1 n c h w"]:
        """One frame, the image itself, which holds at every step; arguments as in :class:`Coding`."""
        return images.unsqueeze(0)
