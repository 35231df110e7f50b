"""An adapted network whose spiking layers are sites of ours: ``adapt(net, native=True)``.

The user's layers between them stay the user's own modules, with their weights. Each spiking layer is replaced, in a
graph of the forward, by the neuron of ours that does the same; the user's network itself is not changed.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.interop.adapted import Adapted, Handed
from spikeproof.interop.native_site import NativeSite
from spikeproof.interop.seam import Library, Seam
from spikeproof.interop.settle import Settled
from spikeproof.interop.site import ForeignSite
from spikeproof.interop.unrolled import followed, unrolled
from spikeproof.spiking import Kernels, Site, override_gradient, sites

_COMPARED = 4  # images
_DIGITS = 1e-10


class Native(Adapted):
    """A user's network with our neurons in it, checked against its own at the first forward.

    Args:
        net, libraries, handed: see :class:`Adapted`.
        kernels: of the sites.
        only: the layers to convert, the others stay the library's; None converts all.

    Attributes:
        image_shape: [C,H,W] of the images, or [T,C,H,W] of the frames, it was first called with; None before.

    Raises:
        SpikeproofError: at the first forward, a layer that has no counterpart, a forward that cannot be followed, or
            logits or gradients that differ in float64.
    """

    def __init__(
        self,
        net: nn.Module,
        libraries: Sequence[Library],
        handed: Handed,
        *,
        kernels: Kernels = "fused",
        only: Collection[str] | None = None,
    ) -> None:
        self._kernels, self._only = kernels, only
        self._reasons: dict[str, str] = {}
        self._programs: dict[tuple[bool, ...], Callable[..., list[Any]]] = {}
        self._containers: tuple[nn.Module, ...] | None = None
        self.image_shape: torch.Size | None = None
        super().__init__(net, libraries, handed)

    def _site_of(self, seam: Seam, library: str) -> Site:
        same = seam.same() if self._only is None or seam.label in self._only else "it stays"
        if isinstance(same, str):
            self._reasons[seam.label] = same
            return super()._site_of(seam, library)
        return NativeSite(seam.label, library, same, self.num_steps, self._kernels)

    def __reduce__(self) -> tuple[Any, ...]:
        held = (self.net, self._libraries, self.handed, self.settled, self.sites)
        return _again, (*held, self._kernels, self._only, self.image_shape, self.training)

    def _settle(self, frames: Tensor) -> Settled:
        settled = super()._settle(frames)
        self.image_shape = frames.shape[1:]
        if self._only is None:
            try:
                self._check_converted()
                self._check_equal(frames[:_COMPARED])
            except FAILURES as error:
                self.settled = None  # or the next forward would run what was refused
                if isinstance(error, SpikeproofError | torch.OutOfMemoryError):
                    raise
                raise SpikeproofError(
                    f"native=True cannot run this {type(self.net).__name__} ({first_line(error)}); leave it out."
                ) from error
        return settled

    def _check_converted(self) -> None:
        theirs = [site for site in self._sites() if isinstance(site, ForeignSite)]
        if theirs:
            raise SpikeproofError(
                f"native=True cannot make the layer {theirs[0].label} one of ours: {self._reasons[theirs[0].label]}. "
                "Leave native=True out."
            )

    def _run(self, frames: Tensor, settled: Settled) -> list[Any]:
        theirs = [site for site in self._sites() if isinstance(site, ForeignSite)]
        with contextlib.ExitStack() as stack:
            self._opened(theirs, stack)
            returned = self._program(settled)(self, frames)
            for site in theirs:
                site.finish()
        return returned

    def _program(self, settled: Settled) -> Callable[..., list[Any]]:
        """What is called, for the modes that the code of the user's containers may ask for."""
        ours = [site.label for site in self._sites() if isinstance(site, NativeSite)]
        if self._containers is None:
            layers = {self._seams[label].module for label in ours}
            self._containers = tuple(followed(self.net, layers))
        modes = tuple(each.training for each in self._containers)
        if modes not in self._programs:
            gains = {site.label: site.same.gain for site in self._sites() if isinstance(site, NativeSite)}
            program, constants = unrolled(
                self.net,
                {label: settled.layers[label] for label in ours},
                gains,
                settled.runs,
                self.num_steps,
                settled.frames,
                f"_program{len(self._programs)}",
            )
            for name, constant in constants.items():
                self.register_buffer(name, constant, persistent=False)
            self._programs[modes] = program
        return self._programs[modes]

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _check_equal(self, frames: Float[Tensor, " n *chw"]) -> None:
        """Logits and gradients against the library's own neurons, in float64, in eval mode."""
        self.reset()
        net = copy.deepcopy(self.net).double().eval()
        handed = dataclasses.replace(self.handed, mean=(), std=())
        images = frames.detach().double()
        theirs = Adapted(net, self._libraries, handed).eval()
        theirs._settle(images)
        with _by_own_slope(theirs):
            expected = _answers(theirs, images)

        def differs(only: Collection[str]) -> float:
            ours = Native(net, self._libraries, handed, kernels="reference", only=only).double().eval()
            ours._settle(images)
            with _by_own_slope(ours):
                return _difference(expected, _answers(ours, images))

        labels = [site.label for site in self._sites()]
        if (difference := differs(labels)) <= _DIGITS:
            return
        for label in labels:
            if (alone := differs([label])) > _DIGITS:
                raise SpikeproofError(
                    f"native=True would change this {type(net).__name__}: with our neuron at {label} alone, logits or "
                    f"gradients differ by {alone:.1e} in float64, relative to the largest. Leave native=True out."
                )
        raise SpikeproofError(
            f"native=True would change this {type(net).__name__}: logits or gradients differ by {difference:.1e} in "
            "float64, relative to the largest, and by no one layer alone. Leave native=True out."
        )


class _OwnSlope:
    """The slope that the library states, in float64 even where its backward works in float32."""

    def slope(self, site: ForeignSite, step: int, margin: Tensor) -> Tensor:
        return site.neuron.surrogate(margin)


def _by_own_slope(model: Adapted) -> contextlib.AbstractContextManager[None]:
    theirs = [site.label for site in sites(model).values() if isinstance(site, ForeignSite) and site.label]
    own: Any = _OwnSlope()  # a foreign site asks for slopes alone
    return override_gradient(model, dict.fromkeys(theirs, own))


def _answers(model: Adapted, images: Tensor) -> list[Tensor]:
    """Logits, and the gradients of a sum of them by the images and by all that learns."""
    leaf = images.clone().requires_grad_()
    logits = model(leaf)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device).view_as(logits)
    learned = [parameter for parameter in model.net.parameters() if parameter.requires_grad]
    found = torch.autograd.grad((logits * weights).sum(), [leaf, *learned], allow_unused=True, materialize_grads=True)
    return [logits.detach(), *found]


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest, of each tensor relative to its largest value."""
    return max(
        float((a - b).abs().max() / a.abs().max().clamp_min(1e-300)) if a.numel() and not torch.equal(a, b) else 0.0
        for a, b in zip(expected, found, strict=True)
    )


def _again(
    net: nn.Module,
    libraries: Sequence[Library],
    handed: Handed,
    settled: Settled | None,
    held: nn.ModuleList,
    kernels: Kernels,
    only: Collection[str] | None,
    image_shape: torch.Size | None,
    training: bool,
) -> Native:
    native = Native(net, libraries, handed, kernels=kernels, only=only)
    native.training, native.sites, native.settled, native.image_shape = training, held, settled, image_shape
    return native
