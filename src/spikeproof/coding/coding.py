"""What a coding is: images to frames, before the first convolution."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Coding(Protocol):
    """A frozen dataclass of plain numbers that turns images into frames; differentiable, so that attacks go through.

    Random codings draw from torch's generator of the CPU, fresh numbers in every forward, in training as after it.
    """

    @property
    def constant(self) -> bool:
        """Whether every step gets the same frame; then ``encode`` returns it once."""
        ...

    @property
    def random(self) -> bool:
        """Whether two calls differ."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether the network normalises the frames by mean and deviation (spikes are fed as they are)."""
        ...

    def encode(self, images: Float[Tensor, " n *chw"], num_steps: int) -> Float[Tensor, "k n c h w"]:
        """The frames of images.

        Args:
            images: in [0, 1]; for :class:`Frames` [N,T,C,H,W].
            num_steps: T, 1 or more.

        Returns:
            K frames, time first: K = 1 for a constant coding, which holds at every step, else K = T.
        """
        ...
