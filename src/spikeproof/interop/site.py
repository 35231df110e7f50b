"""The site of another library's neuron: what its margins meet, with the face of our own :class:`Site`.

A library's neuron forms its spikes by calling some function of the margin. That call comes here instead: margins are
seen and noise is added, and a gradient source replaces the backward. The spikes are those of the library's own
function, so nothing that is attached changes a logit.

Our own sites see a forward as a whole, all steps at once. A user's loop never shows that, so here a source answers in
one of three other ways: by step, by a gain of the whole forward, or in the place of the neuron.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.interop.layout import Layout
from spikeproof.interop.surrogate import TheirSurrogate
from spikeproof.spiking import LEARNED, Neuron, Site, SiteRecord
from spikeproof.spiking.ops.noise import draw_tapes, standard_normals

# What a defense may put at a site of ours, and what is the library's own here.
_OURS = (*LEARNED, "setpoint", "random_decay", "gate", "neuron")


@runtime_checkable
class ByStep(Protocol):
    """A source that says the slope at the margins of one step."""

    def slope(self, site: ForeignSite, step: int, margin: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """ds/dv at these margins, noise included; nothing of it is differentiated."""
        ...


@runtime_checkable
class ByForward(Protocol):
    """A source that says one gain for all steps, when the forward is over: dL/dx[t] = dL/ds[t] * G."""

    def whole_gain(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        """G of every neuron, by the current that comes into the neuron's module."""
        ...


@runtime_checkable
class InPlace(Protocol):
    """A source that answers for the neuron while ``site.collapsed``: another network's output."""

    def output(self, site: ForeignSite, current: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """What the neuron gives for what drives it, after the neuron's own gain."""
        ...


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a library's neuron; tensors stay on their device, so that no attack step waits for them.

    Attributes:
        threshold: above the potential that a reset leads to.
        decay: what is kept of the potential from step to step; None for neurons with more than one state.
        gain: what multiplies the current.
        resets_apart: whether the reset asks the margin once more, so that it does not see noise.
        threshold_is: "one" number that stands; "many", where it is learned or differs by neuron (``threshold`` is their
            mean now); or "unknown", where code of the user's own forms the margin.
    """

    threshold: float | Tensor = 1.0
    decay: float | Tensor | None = None
    gain: float | Tensor = 1.0
    resets_apart: bool = False
    threshold_is: Literal["one", "many", "unknown"] = "one"

    @classmethod
    def of(cls, threshold: float | Tensor, **rest: Any) -> Facts:
        """With a library's threshold, which may be a tensor that learns or differs by neuron."""
        if not isinstance(threshold, Tensor):
            return cls(threshold, **rest)
        many = threshold.requires_grad or threshold.numel() > 1
        return cls(threshold.detach().double().mean(), threshold_is="many" if many else "one", **rest)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One forward at a site, detached: noisy margins, spikes and the current of each step [T, N, ...]."""

    margins: Float[Tensor, "t n ..."]
    spikes: Float[Tensor, "t n ..."]
    currents: Float[Tensor, "t n ..."]


class ForeignSite(Site):
    """One spiking layer of another library.

    ``override``, ``request``, ``noise_std`` and ``noise_at_inference`` are those of :class:`Site`. Decays, gains, gates
    and the neuron are the library's own: to set them here is refused.

    Args:
        label: the layer's name in the user's network.
        library: whose neuron it is, as sentences call it.
        facts: what is known of the neuron now.
        spikes_of: margins to spikes, by the library's own function.
        num_steps: T.
        fires_many: whether a neuron may fire several spikes in one step.

    Attributes:
        layout: how the layer's output holds steps and samples; None where its output is not its spikes.
        normed: whether a batch norm drives it; None before the first forward.
    """

    label: str
    normed: bool | None = None

    def __init__(
        self,
        label: str,
        library: str,
        facts: Callable[[], Facts],
        spikes_of: Callable[[Tensor], Tensor],
        num_steps: int,
        *,
        fires_many: bool = False,
    ) -> None:
        super().__init__(Neuron(threshold=float(facts().threshold), surrogate=TheirSurrogate(spikes_of)), num_steps)  # type: ignore[arg-type]
        self.layout: Layout | None = None
        self.fires_many = fires_many
        self.facts, self.label, self.library = facts, label, library
        self.begin()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OURS and value is not None and "library" in self.__dict__:
            raise SpikeproofError(
                f"What is asked for changes the {name.replace('_', ' ')} of a neuron, which is {self.library}'s own at "
                f"{self.label}; take a network of spikeproof.create_model for it."
            )
        super().__setattr__(name, value)

    @property
    def steps_differ(self) -> bool:
        """Always: no single copy can stand for a user's loop, so all steps are differentiated."""
        return True

    @property
    def wants_whole(self) -> bool:
        """Whether this forward needs to see what enters the layer and to replace what leaves it."""
        rated = isinstance(self.override, ByForward) and torch.is_grad_enabled()
        answered = isinstance(self.override, InPlace) and self.collapsed
        return rated or answered or (self.request is not None and self.request.currents)

    def forward(self, current: Float[Tensor, "kn c *space"]) -> Float[Tensor, "tn c *smaller"]:
        raise SpikeproofError(f"{self.label} runs inside {self.library}'s network; call the adapted network.")

    def fire(self, *args: Any, **kwargs: Any) -> Any:
        raise SpikeproofError(
            f"What is asked for runs the neuron itself, and {self.label} is {self.library}'s; take a network of "
            "spikeproof.create_model for it."
        )

    def begin(self) -> None:
        """Forget the forward before."""
        self.step = 0
        self.memo: dict[str, Any] = {}  # what a source keeps for the length of a forward
        self._margins: list[Tensor] = []
        self._spikes: list[Tensor] = []
        self._currents: list[Tensor] = []
        self._sums: dict[str, list[Tensor]] = {"total": [], "total_of_squares": [], "cost_total": []}
        self._seen_margins: list[Tensor] = []
        self._rates: list[Tensor] = []
        self._count = 0
        self._gain: Tensor | None = None

    def cross(self, margin: Float[Tensor, "n ..."], spikes_of: Callable[[Tensor], Tensor]) -> Float[Tensor, "n ..."]:
        """The spikes of one step's margins, by the library's own function, with what is attached here."""
        step, self.step = self.step, self.step + 1
        noisy = margin + self._noise(margin) if self.noisy and not self.collapsed else margin
        if self.request is not None and not self.collapsed:
            self._record(margin)
        override = self.override
        if override is None or not torch.is_grad_enabled() or isinstance(override, ByForward | InPlace):
            spikes = spikes_of(noisy).to(noisy.dtype)  # some libraries fire in float32 always
        elif isinstance(override, ByStep):
            with torch.no_grad():
                given, slope = spikes_of(noisy).to(noisy.dtype), override.slope(self, step, noisy.detach())
            spikes = _Stand.apply(noisy, given, slope)
        else:
            raise SpikeproofError(
                f"{type(override).__name__} changes the backward of spikeproof's own sites only, and {self.label} is "
                f"{self.library}'s; take another gradient source."
            )
        if isinstance(override, ByForward):
            self._margins.append(noisy.detach())
            self._spikes.append(spikes.detach())
        if self.request is not None and self.request.rate:
            self._rates.append(spikes.detach().float().mean())
        return spikes

    def whole(self, current: Tensor, output: Tensor) -> Tensor:
        """What leaves the layer in the place of ``output``, where ``wants_whole``."""
        override = self.override
        if self.request is not None and self.request.currents and not self.collapsed:
            self._currents.append(self._laid_out().by_step(current, self.num_steps))
        if isinstance(override, InPlace) and self.collapsed:
            self._laid_out()  # what is no spikes cannot be replaced by what stands for them
            return override.output(self, current * self.facts().gain)
        if not isinstance(override, ByForward) or not torch.is_grad_enabled():
            return output
        layout = self._laid_out()
        if self.request is None or not self.request.currents:
            self._currents.append(layout.by_step(current.detach(), self.num_steps))
        replaced: Tensor = _Gained.apply(current, output.detach(), self, layout)
        return replaced

    def gain_of_all(self) -> Tensor:
        """The source's G of the forward that is over."""
        if self._gain is None:
            assert isinstance(self.override, ByForward)
            currents = torch.cat(self._currents).detach()
            seen = Seen(torch.stack(self._margins), torch.stack(self._spikes), currents)
            self._gain = self.override.whole_gain(self, seen)
        return self._gain

    def finish(self) -> None:
        """The forward is over: hand its record to who asked."""
        request = self.request
        if request is None or self.collapsed or self.step == 0:
            return
        sums = {name: torch.stack(parts) if parts else None for name, parts in self._sums.items()}
        request.store(
            SiteRecord(
                count=self._count,
                window=self.window,
                **sums,
                margins=torch.stack(self._seen_margins) if self._seen_margins else None,
                rate=torch.stack(self._rates).mean() if self._rates else None,
                currents=torch.cat(self._currents) if request.currents else None,
                normed=self.normed is True,
            )
        )

    def _laid_out(self) -> Layout:
        if self.layout is None:
            raise SpikeproofError(
                f"What is asked for needs the currents that enter {self.label}, and its output is not its spikes; take "
                "BPTT, ASSG or PDSG, which act on margins alone."
            )
        return self.layout

    def _noise(self, margin: Tensor) -> Tensor:
        if self.facts().resets_apart:
            raise SpikeproofError(
                f"{self.library} forms the reset apart from the spike at {self.label}, so noise would move the one and "
                "not the other; take a network of spikeproof.create_model for noise."
            )
        last = margin.movedim(1, -1) if margin.ndim > 1 else margin[:, None]
        (tape,) = draw_tapes(1, last[None])
        normals = standard_normals(tape, last).to(margin.dtype)
        return self.noise_std * (normals.movedim(-1, 1) if margin.ndim > 1 else normals[:, 0])

    def _record(self, margin: Tensor) -> None:
        request = self.request
        assert request is not None
        if request.after_reset:
            raise SpikeproofError(
                f"The potential after a reset is {self.library}'s own at {self.label} and is not seen; ask about the "
                "margin before the reset."
            )
        seen = margin if self.override is None else margin.detach()
        wide = seen.to(torch.promote_types(seen.dtype, torch.float32))
        others = tuple(dim for dim in range(wide.ndim) if dim != 1)
        self._count = wide[:, 0].numel()
        if request.moments:
            self._sums["total"].append(wide.sum(others))
            self._sums["total_of_squares"].append((wide * wide).sum(others))
        if request.cost is not None:
            self._sums["cost_total"].append(request.cost(wide).sum(others))
        if request.margins:
            self._seen_margins.append(margin.detach())


class _Stand(torch.autograd.Function):
    """The library's spikes forward; backward the gradient times a slope."""

    @staticmethod
    def forward(ctx: Any, margin: Tensor, spikes: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (gradients[0] * slope).to(gradients[0].dtype), None, None


class _Gained(torch.autograd.Function):
    """The layer's output forward; backward the gradient times the gain of all steps, which is known by then."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, output: Tensor, site: ForeignSite, layout: Layout) -> Tensor:
        ctx.site, ctx.layout = site, layout
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (given,) = gradients
        gain = ctx.layout.spread(ctx.site.gain_of_all(), given, ctx.site.num_steps)
        return (given * gain).to(given.dtype), None, None, None
