"""The site: one spiking layer, seen as the place where potentials meet the threshold.

Defenses, gradient sources and pictures all act here, and only here.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.ops import reference
from spikeproof.spiking.ops.fused import fused
from spikeproof.spiking.surrogate import Surrogate

Kernels = Literal["reference", "fused"]

_fused_fire = fused(reference.fire)


@runtime_checkable
class GradientOverride(Protocol):
    """What a gradient source puts at a site to change its backward: a whole op with the same forward."""

    def __call__(
        self, site: Site, current: Float[Tensor, "t m c"], noise: Float[Tensor, "t m c"] | None
    ) -> Float[Tensor, "t m c"]: ...


@dataclasses.dataclass
class SiteRecord:
    """What one forward left at one site: exactly what the probe asked for, the rest None.

    Attributes:
        total, total_of_squares: sums of v and v^2 over samples and positions, per step and channel; differentiable.
        count: how many potentials each of these sums holds.
        window: half-width of the site's surrogate (see :mod:`spikeproof.spiking.surrogate`).
        hinge_total: the sum of max(0, hinge_width - |v|) likewise; differentiable.
        margins: v itself, [T, N, C, ...], detached.
        rate: mean spikes per neuron and step, 0-d, detached.
    """

    count: int
    window: float
    total: Float[Tensor, "t c"] | None = None
    total_of_squares: Float[Tensor, "t c"] | None = None
    hinge_total: Float[Tensor, "t c"] | None = None
    margins: Float[Tensor, "t n c *space"] | None = None
    rate: Float[Tensor, ""] | None = None

    def moments(self) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Mean and standard deviation of the margin, per step and channel; in the graph.

        The variance is floored at 1e-6 of a squared potential so that a channel that never moves has a finite slope.
        """
        if self.total is None or self.total_of_squares is None:
            raise SpikeproofError("This record holds no moments; ask for them: probe(model, 'moments').")
        mean = self.total / self.count
        variance = self.total_of_squares / self.count - mean * mean
        return mean, variance.clamp_min(1e-6).sqrt()


@dataclasses.dataclass(frozen=True)
class Request:
    """What a probe asks of one site, and where each forward's record goes."""

    moments: bool
    margins: bool
    rate: bool
    hinge_width: float | None
    store: Callable[[SiteRecord], None]


class Site(nn.Module):
    """Run a :class:`Neuron` over time on the merged batch: currents [T*N, C, ...] to spikes of the same shape.

    The potential starts at zero in every forward; nothing is carried from call to call.

    Args:
        neuron: the recurrence and its surrogate.
        num_steps: T; the leading dimension of a current must be a multiple of it.
        kernels: "reference" (plain PyTorch) or "fused" (compiled: the same numbers, about five times faster on large
            layers, some seconds of compilation at first use).

    Example:
        >>> site = Site(Neuron(), num_steps=4)
        >>> site(torch.tensor([[0.6], [0.5], [0.3], [0.9]])).flatten()
        tensor([0., 1., 0., 1.])
    """

    def __init__(self, neuron: Neuron, num_steps: int, kernels: Kernels = "reference") -> None:
        super().__init__()
        self.neuron = neuron
        self.num_steps = num_steps
        self.kernels: Kernels = kernels
        self.noise_std = 0.0
        self.noise_at_inference = False
        self.request: Request | None = None
        self.override: GradientOverride | None = None

    def extra_repr(self) -> str:
        return f"{self.neuron}, num_steps={self.num_steps}, kernels={self.kernels!r}"

    @property
    def noisy(self) -> bool:
        """Whether this forward draws noise: always in training, at inference only where it was asked for."""
        return self.noise_std > 0 and (self.training or self.noise_at_inference)

    def fire(
        self,
        current: Float[Tensor, "t m c"],
        noise: Float[Tensor, "t m c"] | None,
        *,
        surrogate: Surrogate | None = None,
        **options: Any,
    ) -> reference.Fired:
        """The spiking op with this site's neuron, kernels and, unless another is given, surrogate.

        The other options are those of ``ops.reference.fire``.
        """
        run = _fused_fire if self.kernels == "fused" else reference.fire
        chosen = self.neuron.surrogate if surrogate is None else surrogate
        fired: reference.Fired = run(current, self.neuron, surrogate=chosen, noise=noise, **options)
        return fired

    def forward(self, current: Float[Tensor, "tn c *space"]) -> Float[Tensor, "tn c *space"]:
        merged = current.unflatten(0, (self.num_steps, -1)).movedim(2, -1)  # [T, N, ..., C]: a view if channels_last
        flat = merged.flatten(1, -2)
        noise = self._draw_noise(flat) if self.noisy else None
        if self.override is not None:
            spikes = self.override(self, flat, noise)
            if self.request is not None:
                with torch.no_grad():  # the forward is the same whatever the override, so this sees what it saw
                    self._probed(self.request, flat, noise, merged.shape)
        elif self.request is None:
            spikes = self.fire(flat, noise).spikes
        else:
            spikes = self._probed(self.request, flat, noise, merged.shape)
        return spikes.unflatten(1, merged.shape[1:-1]).movedim(-1, 2).flatten(0, 1)

    def _draw_noise(self, flat: Tensor) -> Tensor:
        # float32 at least: drawing bfloat16 normals is three times slower on a CPU.
        dtype = torch.promote_types(flat.dtype, torch.float32)
        return torch.empty(flat.shape, dtype=dtype, device=flat.device).normal_(std=self.noise_std)

    def _probed(self, request: Request, flat: Tensor, noise: Tensor | None, merged_shape: torch.Size) -> Tensor:
        fired = self.fire(
            flat,
            noise,
            want_margins=request.margins,
            want_moments=request.moments,
            hinge_width=request.hinge_width,
        )
        margins = fired.margins
        request.store(
            SiteRecord(
                count=flat.shape[1],
                window=self.neuron.surrogate.window,
                total=fired.total,
                total_of_squares=fired.total_of_squares,
                hinge_total=fired.hinge_total,
                margins=None if margins is None else margins.unflatten(1, merged_shape[1:-1]).movedim(-1, 2),
                rate=fired.spikes.detach().float().mean() if request.rate else None,
            )
        )
        return fired.spikes


def sites(model: nn.Module) -> dict[str, Site]:
    """Every site of a model by its module path, in order of the forward."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Site)}


@contextlib.contextmanager
def override_gradient(model: nn.Module, overrides: Mapping[str, GradientOverride | None]) -> Iterator[None]:
    """Give the named sites another backward (None: their own) inside the context; restored whatever happens."""
    watched = sites(model)
    before = {name: watched[name].override for name in overrides}
    for name, override in overrides.items():
        watched[name].override = override
    try:
        yield
    finally:
        for name, previous in before.items():
            watched[name].override = previous


@contextlib.contextmanager
def inference_noise(model: nn.Module, on: bool) -> Iterator[None]:
    """Turn the sites' noise at inference on or off for the time of the context."""
    before = [(site, site.noise_at_inference) for site in sites(model).values()]
    for site, _ in before:
        site.noise_at_inference = on
    try:
        yield
    finally:
        for site, previous in before:
            site.noise_at_inference = previous
