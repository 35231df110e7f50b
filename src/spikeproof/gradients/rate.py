"""Rate-based gradients: BPTR (Ding et al. 2022, SNN-RAT), RGA (Bu et al. 2023; tables also call it "BPTR"), HART.

Both send the gradient of a site's spikes to its currents step by step, through a gain that is the same at every step::

    dL/dx[t] = dL/ds[t] * G

With direct coding, batch norm in eval mode and logits averaged over steps, the gradient is then the same at every step
of every layer. So the T copies need not be differentiated: the spiking forward runs without a graph, and then one copy,
in which each site gives the rate it has just fired, carries the backward. That is exact, since between sites all is
linear, and it costs a forward and a backward of N images instead of a backward of T*N.

HART (Hao et al. 2024) averages the gradient by the currents over the steps and cuts the potential's own path through
time, so dL/dx[t] = mean_s (dL/ds[s] h(v[s])). As dL/ds is the same at every step, that is the form above with
G = mean_s h(v[s]).

Where the steps differ (a learned gain by step, batch norm by step, gates), all T copies are differentiated with
these same gains, and a site's own gain is a factor of the chain rule. RGA then takes the means over the steps of the
current times the gain, and of the decay.

Deviations: the originals fire at a strict margin > 0 in these modes, ours never changes the forward. For a threshold
other than 1, RGA's gain is taken at the current over the threshold.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.checked import real
from spikeproof.errors import SpikeproofError
from spikeproof.gradients.named import Named, Tunable, a_number
from spikeproof.gradients.source import Attached
from spikeproof.interop import ForeignSite, Seen
from spikeproof.spiking import Drive, Neuron, Site, Triangle, override_gradient, sites
from spikeproof.spiking.ops.drive import OfMean, Setting, fired_mask, gain_at_mean, gain_of_mean, mean_slope


class Gain(Protocol):
    """What a rate-based source gives at a site: G of every neuron."""

    def of_site(self, site: Site, drive: Drive) -> Float[Tensor, "1 n *space c"]:
        """G times batch norm's scale, by the site's kernels.

        Args:
            site: one of ours.
            drive: what drives it in this forward.
        """
        ...

    def of_seen(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        """G of a neuron of another library, without the gain that this neuron has on its current.

        Args:
            site: of the other library.
            seen: margins, spikes and currents of the whole forward, steps first.
        """
        ...


@dataclasses.dataclass(frozen=True)
class BPTR:
    """G = 1[a neuron's rate > 0]: dL/dx[t] = G dL/ds[t], the rate mask of SNN-RAT.

    Raises:
        SpikeproofError: on attaching, a model without sites.

    Example:
        >>> BPTR().name
        'BPTR'

    Source: Ding et al. 2022 (NeurIPS), SNN-RAT. Deviation: spikes at a margin of exactly 0 count, as in the forward.
    """

    @property
    def name(self) -> str:
        """ "BPTR"."""
        return "BPTR"

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]:
        """A context in which each site multiplies by its gain G; see :meth:`GradientSource.attach`."""
        return _attach(model, self)

    def of_site(self, site: Site, drive: Drive) -> Float[Tensor, "1 n *space c"]:
        """G by the kernels of one of our sites; see :class:`Gain`."""
        (mask,) = site.elementwise(fired_mask, _setting(site), drive)
        return mask

    def of_seen(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        """G of a neuron of another library; see :class:`Gain`."""
        return (seen.spikes > 0).any(0).to(seen.margins.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RGA:
    """G by the mean current x of a neuron, with decay tau and threshold 1::

        G = (1 - g + g tau) / (1 + tau)  where 1 - tau <= x <= 2,  plus g  where 0 <= x <= 1 - tau

    Args:
        slope: g, >= 0; 0.2 in the original.

    Raises:
        SpikeproofError: a slope that is not a number >= 0; on attaching, a model without sites.

    Example:
        >>> RGA().gain(Neuron(decay=0.5), torch.tensor([0.3, 1.0, 2.1]))
        tensor([0.2000, 0.6000, 0.0000])

    Source: Bu et al. 2023, rate gradient approximation. Deviation: for another threshold G is taken at x / threshold
    and divided by the threshold.
    """

    slope: float = 0.2

    def __post_init__(self) -> None:
        real(self.slope, "RGA", "slope", 0)

    @property
    def name(self) -> str:
        """ "RGA", with the slope if it is not the default."""
        return "RGA" if self == RGA() else f"RGA slope={self.slope}"

    def gain(
        self, neuron: Neuron, current: Float[Tensor, "*many"], decay: float | Float[Tensor, "*some"] | None = None
    ) -> Float[Tensor, "*many"]:
        """G at a mean current.

        Args:
            neuron: gives threshold and decay.
            current: the mean current over the steps, x.
            decay: takes the place of the neuron's; broadcasts against ``current``. None keeps the neuron's.
        """
        return gain_at_mean(neuron, self.slope, current, neuron.decay if decay is None else decay)

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]:
        """A context in which each site multiplies by its gain G; see :meth:`GradientSource.attach`.

        Raises:
            SpikeproofError: a model without sites, or a neuron of another library without one known decay.
        """
        for site in sites(model).values():
            if isinstance(site, ForeignSite) and site.facts().decay is None:
                raise SpikeproofError(
                    f"RGA's gain is that of a neuron with one known decay, and {site.label} is no such neuron of "
                    f"{site.library}; take another gradient source (BPTT, ASSG, PDSG, HART)."
                )
        return _attach(model, self)

    def of_site(self, site: Site, drive: Drive) -> Float[Tensor, "1 n *space c"]:
        """G by the kernels of one of our sites; see :class:`Gain`."""
        (slope,) = site.elementwise(gain_of_mean, OfMean(_setting(site), self.slope), drive)
        return slope

    def of_seen(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        """G of a neuron of another library; see :class:`Gain`."""
        facts = site.facts()
        return self.gain(site.neuron, facts.gain * seen.currents.mean(0), facts.decay)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HART:
    """G = mean over the steps of h(v), h a triangle of half-width ``width``, at the noisy margin where there is noise.

    Args:
        width: gamma, in units of the potential, > 0. The paper's code takes the one of 0.10, 0.15, ... 2.45 that works
            best on the evaluated samples; an audit here chooses it on validation samples.

    Raises:
        SpikeproofError: a width that is not a positive number; on attaching, a model without sites.

    Example:
        >>> HART(width=0.5).name
        'HART width=0.5'

    Source: Hao et al. 2024. Deviation: where the steps differ, each step takes this same G (see this module).
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        real(self.width, "HART", "width", 0, above=True)

    @property
    def name(self) -> str:
        """ "HART", with the width if it is not the default."""
        return "HART" if self == HART() else f"HART width={self.width}"

    def attach(self, model: nn.Module) -> contextlib.AbstractContextManager[Attached]:
        """A context in which each site multiplies by its gain G; see :meth:`GradientSource.attach`."""
        return _attach(model, self)

    def of_site(self, site: Site, drive: Drive) -> Float[Tensor, "1 n *space c"]:
        """G by the kernels of one of our sites; see :class:`Gain`."""
        sharpness = torch.full((site.num_steps, 1), 1 / self.width, dtype=_wide(drive), device=drive.values.device)
        (slope,) = site.elementwise(mean_slope, _setting(site), drive._replace(sharpness=sharpness))
        return slope

    def of_seen(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        """G of a neuron of another library; see :class:`Gain`."""
        return Triangle(self.width)(seen.margins).mean(0)


def _setting(site: Site) -> Setting:
    return Setting(site.neuron, Triangle(), site.num_steps)


def _wide(drive: Drive) -> torch.dtype:
    return torch.promote_types(drive.values.dtype, torch.float32)


@contextlib.contextmanager
def _attach(model: nn.Module, gain: Gain) -> Iterator[Attached]:
    watched = sites(model)
    if not watched:
        raise SpikeproofError("Rate-based gradients need spiking sites and this model has none; use BPTT instead.")
    by_rate = {name: _RateSite(gain) for name in watched}
    with override_gradient(model, dict(by_rate)):
        yield _AttachedRate(list(watched.values()))


class _RateSite:
    """One site's backward by rate, and what its latest spiking forward left for the single copy."""

    def __init__(self, gain: Gain) -> None:
        self.gain = gain
        self.rate: Tensor | None = None
        self.slope: Tensor | None = None

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Tensor:
        if site.collapsed:
            assert self.rate is not None and self.slope is not None
            return _TimesGain.apply(drive.values, self.slope, self.rate, pooled)
        with torch.no_grad():
            fired = site.fire(drive, pooled=pooled).spikes
            self.rate = fired.mean(0, keepdim=True)
            slope = self.gain.of_site(site, drive)
            self.slope = slope if drive.gain is None else slope * _by_step(drive.gain, slope, site.steps_differ)
        return _TimesGain.apply(drive.values, self.slope, fired, pooled)

    def whole_gain(self, site: ForeignSite, seen: Seen) -> Float[Tensor, "n ..."]:
        return self.gain.of_seen(site, seen) * site.facts().gain


def _by_step(gain: Tensor, slope: Tensor, steps_differ: bool) -> Tensor:
    """A site's gain as it multiplies a slope [1, N, *space, C]: of every step, or of the one that they all are."""
    shaped = gain.reshape(len(gain), *(1,) * (slope.ndim - gain.ndim), *gain.shape[1:])
    return shaped if steps_differ else shaped[:1]


class _TimesGain(torch.autograd.Function):
    """``outputs`` forward; backward the gradient by them times ``slope``, to the values that drove them.

    ``pooled`` outputs are means of 2x2 positions. Where the steps' gradients differ, in training or behind norms of
    each step, each takes the same slope; HART's original would average them there.
    """

    @staticmethod
    def forward(ctx, values, slope, outputs, pooled):  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.save_for_backward(slope)
        ctx.pooled, ctx.copies = pooled, len(values)
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        (slope,) = ctx.saved_tensors
        if ctx.pooled:
            parts = slope.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)) * (grad[:, :, :, None, :, None] / 4)
            by_values = parts.flatten(4, 5).flatten(2, 3).to(grad.dtype)
        else:
            by_values = (grad * slope).to(grad.dtype)
        return by_values.sum(0, keepdim=True) if ctx.copies < len(grad) else by_values, None, None, None


class _AttachedRate(Attached):
    def __init__(self, watched: list[Site]) -> None:
        self._watched = watched

    def forward(
        self, call: Callable[[Tensor], Tensor], images: Float[Tensor, " n *chw"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The spiking logits, and the same numbers with the gradient of the single copy."""
        if any(site.steps_differ or (site.norm is not None and site.norm.training) for site in self._watched):
            logits = call(images)
            return logits, logits
        with torch.no_grad():
            logits = call(images)
        single = through_one_copy(self._watched, call, images)
        return logits, logits + (single - single.detach())


def through_one_copy(watched: list[Site], call: Callable[[Tensor], Tensor], images: Tensor) -> Float[Tensor, "n k"]:
    """The logits of one copy that stands for all steps; every site's override gives that site's output.

    Args:
        watched: the sites of the model. They are ``collapsed`` during this call.
        call: the model, from images to logits.
        images: one copy, [n,c,h,w].
    """
    try:
        for site in watched:
            site.collapsed = True
        return call(images)
    finally:
        for site in watched:
            site.collapsed = False


_WIDTH = Tunable(
    name="hart_width",
    label="HART's width",
    default=HART().width,
    values=(0.25, 0.5, 1.0, 2.0),
    make=lambda value: HART(width=value),
)
NAMED = (
    Named(name="BPTR", make=lambda tuned: BPTR()),
    Named(name="RGA", make=lambda tuned: RGA()),
    Named(
        name="HART",
        make=lambda tuned: HART(width=tuned["hart_width"]),
        of_text=lambda text: HART(width=a_number(text)),
        adaptive=True,
        tunable=_WIDTH,
    ),
)
