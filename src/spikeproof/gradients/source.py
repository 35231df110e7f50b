"""What a gradient source is: another backward for the same forward, for the time of a context."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from spikeproof.checked import told
from spikeproof.errors import SpikeproofError


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
        if not loss.requires_grad:
            return torch.zeros_like(images), logits
        (by_logits,) = torch.autograd.grad(loss, differentiated, retain_graph=True)
        unit, power = _in_powers_of_two(by_logits)
        (found,) = torch.autograd.grad(differentiated, images, unit, allow_unused=True)
        return torch.zeros_like(images) if found is None else found * power.reshape(
            -1, *(1,) * (found.ndim - 1)
        ), logits

    def hold(self, held: bool) -> None:
        """Whether forwards leave the state alone (all draws of one expectation after the first)."""


def _in_powers_of_two(gradient: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n 1"]]:
    """Each sample's gradient with a largest entry near 1, and the power of two that was taken off: nothing is rounded.

    A confident network's loss has gradients of 1e-30 and less. On their way to the image they would leave the range in
    which every processor is quick, and lose their digits.
    """
    _, exponent = torch.frexp(gradient.abs().amax(1, keepdim=True).float())
    exponent = exponent.clamp(
        -126, 126
    )  # so that both powers are float32, and of what is not finite frexp says anything
    return gradient * _power_of_two(-exponent).to(gradient.dtype), _power_of_two(exponent)


def _power_of_two(exponent: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """By its bits, since ``pow`` and ``ldexp`` may round."""
    return ((exponent + 127) << 23).view(torch.float32)


@runtime_checkable
class GradientSource(Protocol):
    """Attach to a model and leave no trace, exception or not. The forward never changes."""

    @property
    def name(self) -> str:
        """How tables and outcomes call this source; two sources with one name are the same source."""
        ...

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]: ...


def check_source(source: Any) -> None:
    """Refuse what is no gradient source, its class included.

    Raises:
        SpikeproofError: it is none.
    """
    if isinstance(source, type) or not isinstance(source, GradientSource):
        raise SpikeproofError(
            f"A gradient source is such as spikeproof.BPTT() or spikeproof.ASSG(), got {told(source)}."
        )
