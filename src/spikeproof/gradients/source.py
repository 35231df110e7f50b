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
    """A source while it is attached to a model. This one is plain autograd; others override it."""

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Forget all samples but some; only these are attacked from now on.

        Args:
            kept: places of those that stay, among the samples so far.
        """

    def forward(
        self, call: Callable[[Tensor], Tensor], images: Float[Tensor, " n *chw"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The model's logits, and the logits that the loss is taken of.

        The second are the same numbers with this source's backward. Only a transfer source, whose gradient is another
        network's, takes its loss of other logits.

        Args:
            call: the model, from images to logits.
            images: a leaf that asks for a gradient.
        """
        logits = call(images)
        return logits, logits

    def gradient(
        self,
        call: Callable[[Tensor], Tensor],
        images: Float[Tensor, " n *chw"],
        objective: Callable[[Tensor], Tensor],
    ) -> tuple[Float[Tensor, " n *chw"], Float[Tensor, "n k"]]:
        """The gradient of each sample's objective by its image, and the model's logits.

        Where no path leads from the image to the loss (a hard threshold, a forward without a graph) it is zero.

        Args:
            call: the model, from images to logits.
            images: a leaf that asks for a gradient.
            objective: of float32 logits [n,K] a number for each sample.
        """
        logits, differentiated = self.forward(call, images)
        # A sum, so that no sample's gradient depends on its neighbours in the batch.
        loss = objective(differentiated.float()).sum()
        if not loss.requires_grad:
            return torch.zeros_like(images), logits
        (by_logits,) = torch.autograd.grad(loss, differentiated, retain_graph=True)
        unit, power = _in_powers_of_two(by_logits)
        (by_images,) = torch.autograd.grad(differentiated, images, unit, allow_unused=True)
        if by_images is None:
            return torch.zeros_like(images), logits
        return by_images * power.reshape(-1, *(1,) * (by_images.ndim - 1)), logits

    def hold(self, held: bool) -> None:
        """Say whether the next forwards leave the source's state as it is.

        Args:
            held: True for all draws of one expectation after the first.
        """


def _in_powers_of_two(gradient: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n 1"]]:
    """Each sample's gradient with a largest entry near 1, and the power of two that was taken off: nothing is rounded.

    A confident network's loss has gradients of 1e-30 and less. On their way to the image they would become
    subnormal: slow on some processors, and short of digits.
    """
    _, exponent = torch.frexp(gradient.abs().amax(1, keepdim=True).float())
    # So that both powers are float32. Where the gradient is not finite, frexp gives any exponent.
    exponent = exponent.clamp(-126, 126)
    return gradient * _power_of_two(-exponent).to(gradient.dtype), _power_of_two(exponent)


def _power_of_two(exponent: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """By its bits, since ``pow`` and ``ldexp`` may round."""
    return ((exponent + 127) << 23).view(torch.float32)


@runtime_checkable
class GradientSource(Protocol):
    """Another backward for a model, for the time of a context. The forward never changes."""

    @property
    def name(self) -> str:
        """How tables and outcomes call this source; two sources with one name are the same source."""
        ...

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]:
        """A context in which the model has this backward; afterwards it is as before, exception or not.

        Args:
            model: in eval mode, its parameters frozen.

        Returns:
            A context manager that gives the :class:`Attached`.

        Raises:
            SpikeproofError: a model without sites, where the source needs them.
        """
        ...


def check_source(source: Any) -> None:
    """Refuse what is no gradient source, its class included.

    Args:
        source: anything.

    Raises:
        SpikeproofError: it is none.
    """
    if isinstance(source, type) or not isinstance(source, GradientSource):
        raise SpikeproofError(
            f"A gradient source is such as spikeproof.BPTT() or spikeproof.ASSG(), got {told(source)}."
        )
