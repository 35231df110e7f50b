"""What a gradient source is: another backward for the same forward, for the time of a context."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class Attached:
    """A source while it is attached to a model; a source overrides what it has a use for."""

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """From now on only the samples at these places are attacked; forget the others."""

    def forward(
        self, call: Callable[[Tensor], Tensor], images: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The logits of the attacked images, the model's own numbers, and the logits that the loss is taken of.

        The second are the same numbers with this source's backward; only a transfer source, whose gradient is another
        network's, takes its loss of other logits. ``call`` is the model.
        """
        logits = call(images)
        return logits, logits

    def gradient(
        self,
        call: Callable[[Tensor], Tensor],
        images: Float[Tensor, "n c h w"],
        objective: Callable[[Tensor], Tensor],
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n k"]]:
        """The gradient of each sample's objective by its image (a leaf that asks for it), and the model's logits.

        Where no path leads from the image to the loss (a hard threshold, a forward without a graph) it is zero.
        """
        logits, differentiated = self.forward(call, images)
        # A sum, so that no sample's gradient depends on its neighbours in the batch.
        loss = objective(differentiated.float()).sum()
        found = torch.autograd.grad(loss, images, allow_unused=True)[0] if loss.requires_grad else None
        return torch.zeros_like(images) if found is None else found, logits

    def hold(self, held: bool) -> None:
        """Whether forwards leave the state alone (all draws of one expectation after the first)."""


@runtime_checkable
class GradientSource(Protocol):
    """Attach to a model and leave no trace, exception or not. The forward never changes."""

    @property
    def name(self) -> str:
        """How tables and outcomes call this source; two sources with one name are the same source."""
        ...

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]: ...
