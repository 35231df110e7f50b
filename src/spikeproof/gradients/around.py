"""A backward that avoids what hides the gradient: before the first layer with weights, and after the logits.

BPDA with the identity (Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security").
Deviation: they replace the layer that hides the gradient. Here it is not known which one that is, so all that happens
to the image before the first layer with weights is replaced at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from spikeproof.gradients.assg import ASSG
from spikeproof.gradients.bptt import BPTT
from spikeproof.gradients.named import Named
from spikeproof.gradients.source import Attached, GradientSource, check_source
from spikeproof.interop import Adapted, Layout
from spikeproof.models import is_compiled
from spikeproof.spiking import sites

_SPREAD = 10.0  # of logits: a softmax of these still has a gradient in float32
_SOFTMAXES = (torch.softmax, Tensor.softmax, functional.softmax)


@dataclasses.dataclass(frozen=True)
class Around:
    """Another source, with the identity for the backward of all that comes before the first layer with weights::

        dL/dx = dL/dh,    h = g(x) what the first layer with weights gets    (forward: h; backward: as if h were x)
        L of z min(1, 10 / (max z - min z)),    where the outputs are softmax(z), of z

    So it avoids whatever g does to the image: rounding, a sine, JPEG, ``torch.no_grad``, NumPy. h must have as many
    values as the image, or as the images of all steps. Else, and in a compiled network, g keeps its own backward. What
    hides the gradient behind the first layer with weights is not avoided.

    Args:
        inner: the source for all the rest. In a network without sites BPTT takes its place.

    Raises:
        SpikeproofError: an inner source that is no gradient source; on attaching, what that source raises.

    Example:
        >>> from spikeproof.attacks import Crafting, crafting, cross_entropy_of
        >>> rounded = nn.Sequential(nn.Hardtanh(), nn.Flatten(), nn.Linear(4, 3))
        >>> _ = rounded[0].register_forward_hook(lambda module, given, out: (15 * out).round() / 15)
        >>> images, labels = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
        >>> with crafting(rounded, Crafting()) as plain:
        ...     bool(plain.gradient(images, cross_entropy_of(labels))[0].any())
        False
        >>> with crafting(rounded, Crafting(source=Around())) as around:
        ...     bool(around.gradient(images, cross_entropy_of(labels))[0].all())
        True

    Source: Athalye, Carlini and Wagner 2018 (ICML), section 4.1, BPDA with the identity. They replace a layer that is
    known to hide the gradient; this replaces all of g.
    """

    inner: GradientSource = ASSG()

    def __post_init__(self) -> None:
        check_source(self.inner)

    @property
    def name(self) -> str:
        """How tables and outcomes call this source."""
        return f"AROUND {self.inner.name}"

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context with this backward; see :meth:`GradientSource.attach`."""
        inner = self.inner if sites(model) else BPTT()
        with inner.attach(model) as attached:
            yield _AttachedAround(model, attached)


class _AttachedAround(Attached):
    def __init__(self, model: nn.Module, inner: Attached) -> None:
        self._model, self._inner = model, inner

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        self._inner.keep(kept)

    def hold(self, held: bool) -> None:
        self._inner.hold(held)

    def forward(
        self, call: Callable[[Tensor], Tensor], images: Float[Tensor, " n *chw"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        with _straight_to_the_weights(self._model, images), _LastSoftmax() as softmax:
            logits, differentiated = self._inner.forward(call, images)
        before = softmax.input_of(differentiated)
        spread = (before.amax(1, keepdim=True) - before.amin(1, keepdim=True)).detach()
        return logits, before * (_SPREAD / spread.clamp_min(_SPREAD))


@contextlib.contextmanager
def _straight_to_the_weights(model: nn.Module, images: Float[Tensor, " n *chw"]) -> Iterator[None]:
    """For one forward: the first module with weights of its own passes its gradient straight to the images."""
    reached: nn.Module | None = None

    def straight(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal reached
        # An adapted network calls its first layer once in every step, each time with the same.
        again = reached is not None and not (called and module is reached)
        reached = reached or module
        if again or not given or not isinstance(given[0], Tensor) or not given[0].is_floating_point():
            return None
        steps = given[0].numel() // max(images.numel(), 1)
        layout = _layout(given[0], images) if not called else called[0].entry
        if layout is None or given[0].numel() != steps * images.numel():
            return None
        return (_AsIfTheImage.apply(images, given[0], layout, steps), *given[1:])

    weighted = [] if is_compiled(model) else [module for module in model.modules() if list(module.parameters(False))]
    called = [module for module in model.modules() if isinstance(module, Adapted)]
    hooks = [module.register_forward_pre_hook(straight) for module in weighted]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _layout(given: Tensor, images: Float[Tensor, " n *chw"]) -> Layout | None:
    """How this holds an image for each sample, in whatever shape, or one for each step and sample, time first."""
    steps = given.numel() // max(images.numel(), 1)
    if given.shape[0] == steps * len(images):
        return Layout.MERGED_TIME
    return Layout.TIME_FIRST if given.shape[:2] == (steps, len(images)) else None


class _AsIfTheImage(torch.autograd.Function):
    """What was made of the images, forward; backward, the sum over its steps is the images' own gradient."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, made: Tensor, layout: Layout, steps: int) -> Tensor:
        ctx.like, ctx.layout, ctx.steps = (images.shape, images.dtype), layout, steps
        return made.view_as(made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        shape, dtype = ctx.like
        by_step = ctx.layout.by_step(gradients[0], ctx.steps)
        return by_step.reshape(-1, *shape).sum(0).to(dtype), None, None, None


class _LastSoftmax(TorchFunctionMode):
    """Remembers the softmax that was called last, with what went into it."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Tensor, Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _SOFTMAXES:
            given = args[0] if args else (kwargs or {}).get("input")
            self._last = (made, given) if isinstance(given, Tensor) else None
        return made

    def input_of(self, outputs: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """What these outputs are the softmax of, if they are one; else themselves."""
        if self._last is None or self._last[0] is not outputs:
            return outputs
        return self._last[1]


NAMED = (Named(name="AROUND", make=lambda tuned: Around(ASSG(half_mass=tuned["half_mass"])), adaptive=True),)
