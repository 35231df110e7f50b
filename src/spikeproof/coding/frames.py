"""Frames: what an event camera saw in each step goes in at that step."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError


@dataclasses.dataclass(frozen=True)
class Frames:
    """x[t] = the t-th frame of the sample, normalised. The network takes [N,T,C,H,W], and T must be its steps.

    Raises:
        SpikeproofError: in ``encode``, images without frames, or another number of frames than of steps.

    Example:
        >>> import torch
        >>> Frames().encode(torch.rand(2, 8, 2, 4, 4), num_steps=8).shape
        torch.Size([8, 2, 2, 4, 4])

    Source: event data in bins of time, one for each step, as in Wu et al. 2019 (AAAI) and all that followed.
    """

    constant = False
    random = False
    normalised = True

    def encode(self, images: Float[Tensor, "n t c h w"], num_steps: int) -> Float[Tensor, "t n c h w"]:
        """The frames, time first.

        Args:
            images: [N,T,C,H,W] in [0, 1].
            num_steps: T.

        Raises:
            SpikeproofError: images without frames, or another number of frames than of steps.
        """
        if images.ndim != 5 or images.shape[1] != num_steps:
            raise SpikeproofError(
                f"A network of {num_steps} steps with the coding Frames takes frames [N,{num_steps},C,H,W], got "
                f"{list(images.shape)}; give a frame for each step, or create the network with as many steps."
            )
        return images.transpose(0, 1)
