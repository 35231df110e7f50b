"""The site: one spiking layer, seen as the place where potentials meet the threshold.

Defenses, gradient sources and pictures all act here, and only here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from spikeproof.errors import SpikeproofError
from spikeproof.sending import sent
from spikeproof.spiking.cost import Cost
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.norm import Across, PerStepNorm, track
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops import fused
from spikeproof.spiking.ops.drive import LEARNED, Drive, Setting
from spikeproof.spiking.ops.noise import draw_tapes
from spikeproof.spiking.ops.reference import Fired
from spikeproof.spiking.record import Request, SiteRecord
from spikeproof.spiking.surrogate import Surrogate

Kernels = Literal["reference", "fused"]


@runtime_checkable
class GradientOverride(Protocol):
    """What a gradient source puts at a site to change its backward: a whole op with the same forward.

    Most call ``site.fire`` with a changed drive or surrogate.
    """

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Float[Tensor, "t n *space c"]:
        """The site's spikes.

        Args:
            site: where they are formed.
            drive: what drives it in this forward.
            pooled: whether the spikes are to be averaged over 2x2 positions.
        """
        ...


class Site(nn.Module):
    """Batch norm, a :class:`Neuron` run over time, and pooling: currents [T*N, C, ...] to spikes, merged alike.

    The potential starts at zero in every forward; nothing is carried from call to call.

    Args:
        neuron: the recurrence and its surrogate.
        num_steps: T; the leading dimension of a current must be a multiple of it.
        kernels: "reference" (plain PyTorch) or "fused": compiled, and saving only the current for the backward. Its
            numbers are the same to rounding; a machine that first needs a kernel compiles for some seconds.
        norm: a batch norm of the current, over merged steps and samples (as in SNN-RAT's networks) or of each step;
            None for none.
        pool: the spikes of pool x pool positions are averaged; a last row or column that is left over is dropped.
        constant: the current is the same at every step, and comes once: [N, C, ...]. Its batch statistics are those of
            the T copies, except for the factor that makes the running variance unbiased.

    Attributes:
        decay, gain: tensors [T, *less, C] that broadcast against a step's current (T may be 1: the same at every step);
            None leaves the neuron's decay and the current as they are. A defense that learns them puts parameters here.
        sharpness: a tensor [T, C], or with a 1 for either: the surrogate h(v) becomes a h(a v) (``reference.fire``).
        adaptation, setpoint: as decay; both or none. They move the threshold (see ``reference.fire``).
        random_decay: the bounds between which every forward draws each neuron's decay anew; None draws none.
        noise_std: standard deviation of the firing noise, in units of the potential; 0 for none.
        noise_at_inference: whether firing noise is drawn in eval mode too.
        gate: what the spikes [T, N, *space, C] go through before pooling; None lets them pass.
        request: what a probe asks; None outside a probe.
        override: another backward, from a gradient source; None for the site's own.
        across: the other processes that train on the same batch; statistics and sums are then over all their values.
            None outside :func:`spikeproof.spiking.joined.joined`.
        label: the site's name where that is not its module path: the layer of an adapted network.
        collapsed: one copy comes that stands for the mean over steps, and the override gives its output (only
            rate-based gradients set it).

    Example:
        >>> site = Site(Neuron(), num_steps=4)
        >>> site(torch.tensor([[0.6], [0.5], [0.3], [0.9]])).flatten()
        tensor([0., 1., 0., 1.])

    Source: the order norm, neuron, pooling is that of SNN-RAT's networks (Ding et al. 2022).
    """

    decay: Tensor | None
    gain: Tensor | None
    sharpness: Tensor | None
    adaptation: Tensor | None
    setpoint: Tensor | None

    def __init__(
        self,
        neuron: Neuron,
        num_steps: int,
        kernels: Kernels = "reference",
        *,
        norm: nn.BatchNorm2d | PerStepNorm | None = None,
        pool: int = 1,
        constant: bool = False,
    ) -> None:
        super().__init__()
        self.neuron = neuron
        self.num_steps = num_steps
        self.kernels: Kernels = kernels
        self.norm = norm
        self.pool = pool
        self.constant = constant
        for name in LEARNED:
            self.register_parameter(name, None)
        self.register_buffer("setpoint", None)
        self.random_decay: tuple[float, float] | None = None
        self.gate: nn.Module | None = None
        self.noise_std = 0.0
        self.noise_at_inference = False
        self.request: Request | None = None
        self.override: GradientOverride | None = None
        self.across: Across | None = None
        self.collapsed = False
        self.label: str | None = None

    def extra_repr(self) -> str:
        """Neuron, steps, kernels and pooling, for the network's printed form."""
        return f"{self.neuron}, num_steps={self.num_steps}, kernels={self.kernels!r}, pool={self.pool}"

    @property
    def normed(self) -> bool | None:
        """Whether a batch norm drives the site; None where only the first forward will show it (adapted networks)."""
        return self.norm is not None

    @property
    def noisy(self) -> bool:
        """Whether a forward draws firing noise now: always in training, at inference only where it was asked for."""
        return self.noise_std > 0 and (self.training or self.noise_at_inference)

    @property
    def stochastic(self) -> bool:
        """Whether a forward draws random numbers of any kind now."""
        return self.noisy or self.random_decay is not None or self.gate is not None

    @property
    def steps_differ(self) -> bool:
        """Whether the gradient by the current differs from step to step even with the same gain G at every step."""
        by_step = self.gate is not None or isinstance(self.norm, PerStepNorm)
        return by_step or (self.gain is not None and len(self.gain) > 1)

    @property
    def holds_steps(self) -> bool:
        """Whether something here was learned or measured for each step, so that T cannot be changed."""
        parts = (getattr(self, name) for name in (*LEARNED, "setpoint"))
        return any(part is not None and len(part) > 1 for part in parts)

    @property
    def window(self) -> float | Float[Tensor, ""]:
        """Half-width of the surrogate here and now: its own over the sharpness (the mean, where there are several).

        A number where there is no sharpness; else a tensor on its device, so that reading it does not wait for a GPU.
        """
        own = self.neuron.surrogate.window
        if self.sharpness is None:
            return own
        mean = self.sharpness.detach().mean().double()
        return torch.full_like(mean, own) / mean

    @property
    def runs_fused(self) -> bool:
        """Whether a call runs the fused kernels; inside ``torch.compile`` of the whole model the plain ops run."""
        return self.kernels == "fused" and not torch.compiler.is_compiling()

    def forward(self, current: Float[Tensor, "kn c *space"]) -> Float[Tensor, "tn c *smaller"]:
        """The spikes of a current, pooled; the potential starts at zero.

        Args:
            current: merged steps and samples, time first: [T*N, C, ...], or [N, C, ...] where the site is ``constant``.

        Returns:
            Spikes [T*N, C, ...], 0 or 1 before pooling, in the current's dtype.

        Raises:
            SpikeproofError: in training, a batch norm with one value a channel.
        """
        steps = 1 if self.constant or self.collapsed else self.num_steps
        if isinstance(self.norm, PerStepNorm):
            current = self.norm(current, steps)
            if self.collapsed:
                current = current.unflatten(0, (self.num_steps, -1)).mean(0)
            steps = 1 if self.collapsed else self.num_steps
        elif self.norm is not None and not self._fuses_norm:
            # Channels last: torch 2.13's CPU batch norm gives a wrong gradient for one contiguous sample, where the
            # gradient that arrives is a view with the channels last.
            ordered = current.contiguous(memory_format=torch.channels_last) if current.ndim == 4 else current
            current = self.norm(ordered)
        values = current.unflatten(0, (steps, -1)).movedim(2, -1)  # [K, N, *space, C]: a view if channels-last
        drive = self._drive(values)
        pooled = self._fuses_pool(values)
        if self.override is not None:
            spikes = self.override(self, drive, pooled=pooled)
            if self.request is not None and not self.collapsed:
                with torch.no_grad():  # every override has the same forward, so this records the same spikes
                    self._probed(self.request, drive, pooled=pooled)
        elif self.request is not None:
            spikes = self._probed(self.request, drive, pooled=pooled)
        else:
            spikes = self.fire(drive, pooled=pooled).spikes
        if self.gate is not None:
            spikes = self.gate(spikes)
        merged = spikes.movedim(-1, 2).flatten(0, 1)
        return merged if self.pool == 1 or pooled else avg_pool2d(merged, self.pool)

    def _drive(self, values: Float[Tensor, "k n *space c"]) -> Drive:
        """What drives this forward; whatever may differ by step is given for every step."""
        by_step = {
            name: None if part is None else part.expand(self.num_steps, *part.shape[1:])
            for name in (*LEARNED, "setpoint")
            for part in (getattr(self, name),)
        }
        drive = Drive(values, *self._eval_affine(), **by_step)
        if self.random_decay is not None:
            low, high = self.random_decay
            drawn = sent(torch.rand(values.shape[2:]), values.device)  # by the CPU's generator, as all noise here
            decay = low + (high - low) * drawn
            drive = drive._replace(decay=decay.expand(self.num_steps, *decay.shape))
        if self.noisy and not self.collapsed:
            std = torch.full((), self.noise_std, device=values.device)
            drive = drive._replace(noise_std=std, noise=draw_tapes(self.num_steps, values))
        return drive

    def fire(
        self,
        drive: Drive,
        *,
        surrogate: Surrogate | None = None,
        pooled: bool = False,
        want_margins: bool = False,
        want_moments: bool = False,
        cost: Cost | None = None,
        after_reset: bool = False,
    ) -> Fired:
        """This site's op: the spikes, and what is asked about the margins.

        Args:
            drive: what drives the site.
            surrogate: takes the place of the neuron's own.
            pooled: average the spikes over 2x2 positions; needs even sizes and pool 2.
            want_margins: give v, detached.
            want_moments: give the sums of v and v^2 per step and channel.
            cost: a function of v whose sums are given.
            after_reset: moments and cost are of m - threshold instead of v.

        Returns:
            Spikes [T, N, *space, C] and what was asked; the rest is None.

        Raises:
            SpikeproofError: in training, a batch norm with one value a channel.
        """
        setting = Setting(
            self.neuron,
            self.neuron.surrogate if surrogate is None else surrogate,
            self.num_steps,
            pooled,
            want_margins,
            want_moments,
            cost,
            after_reset,
        )
        if not self.runs_fused:
            return plain.forward(setting, drive)
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d) or not self._fuses_norm or not norm.training:
            return fused.fire(drive, setting, learning=self.training)[0]
        if drive.values[..., 0].numel() < 2 and self.across is None:
            raise SpikeproofError("Batch norm in training needs two values a channel at least; give a larger batch.")
        parameters = fused.Norm(norm.weight, norm.bias, norm.eps, self.across)
        fired, seen = fused.fire(drive, setting, parameters, learning=True)
        assert seen is not None
        track(norm, seen.mean, seen.variance, seen.count)
        return fired

    def elementwise(
        self, function: Callable[..., Any], setting: Hashable, drive: Drive, *others: Tensor
    ) -> list[Tensor]:
        """``function(setting, drive, *others)`` by this site's kernels; not differentiated.

        For what a gradient source computes beside the spikes.

        Args:
            function: of ``ops/drive.py``; gives tensors [T, N, *space, C].
            setting: its first argument, all that is fixed.
            drive: what drives the site.
            others: further tensors [T, N, *space, C].
        """
        if self.runs_fused:
            return fused.elementwise(function, setting, drive, *others)
        return list(function(setting, drive, *others))

    @property
    def _fuses_norm(self) -> bool:
        """Not in training under a gradient source: it gets the normalised current, with the statistics in the graph."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d) or not self.runs_fused:
            return False
        if self.request is not None and self.request.currents:
            return False  # the normalised current has to be there to be recorded
        ordinary = norm.affine and norm.track_running_stats and norm.momentum is not None
        return ordinary and not (norm.training and self.override is not None)

    def _eval_affine(self) -> tuple[Tensor | None, Tensor | None]:
        """Batch norm by its running statistics as a scale and a shift, which the fused op applies in the same pass."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d) or not self._fuses_norm or norm.training:
            return None, None
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return scale, norm.bias - norm.running_mean * scale

    def _fuses_pool(self, values: Tensor) -> bool:
        even = values.ndim == 5 and values.shape[2] % 2 == 0 and values.shape[3] % 2 == 0
        return self.runs_fused and self.pool == 2 and even and self.gate is None

    def _probed(self, request: Request, drive: Drive, *, pooled: bool) -> Tensor:
        fired = self.fire(
            drive,
            pooled=pooled,
            want_margins=request.margins,
            want_moments=request.moments,
            cost=request.cost,
            after_reset=request.after_reset,
        )
        count, sums = self._over_the_batch(drive.values[0, ..., 0].numel(), fired)
        request.store(
            SiteRecord(
                count=count,
                window=self.window,
                **sums,
                margins=None if fired.margins is None else fired.margins.movedim(-1, 2),
                rate=fired.spikes.detach().float().mean() if request.rate else None,
                currents=drive.values.movedim(-1, 2) if request.currents else None,
                normed=self.normed is True,
            )
        )
        return fired.spikes

    def _over_the_batch(self, count: int, fired: Fired) -> tuple[int, dict[str, Tensor | None]]:
        """The record's sums and how many potentials each holds, over all processes that share the batch."""
        sums = {name: getattr(fired, name) for name in ("total", "total_of_squares", "cost_total")}
        present = {name: part for name, part in sums.items() if part is not None}
        if self.across is None or not self.training or not present:
            return count, sums
        summed = self.across.sum(torch.stack(list(present.values())))
        return self.across.count(count), sums | dict(zip(present, summed, strict=True))


def sites(model: nn.Module) -> dict[str, Site]:
    """Every site of a model, in order of the forward, by its label or, without one, by its module path.

    Args:
        model: any module; of an adapted network the first forward may show that a layer is no site.

    Returns:
        Name to site; empty for a model without sites.

    Example:
        >>> from spikeproof.models import create_model
        >>> list(sites(create_model("conv", num_classes=10, image_size=8, in_channels=1)))
        ['body.0', 'body.2', 'body.5']
    """
    by_name: dict[str, Site] = {}
    for path, module in model.named_modules():
        if isinstance(module, Site):
            by_name[module.label if module.label and module.label not in by_name else path] = module
    return by_name


@contextlib.contextmanager
def override_gradient(model: nn.Module, overrides: Mapping[str, GradientOverride | None]) -> Iterator[None]:
    """Give the named sites another backward inside the context; restored afterwards, exception or not.

    Args:
        model: has sites of these names.
        overrides: name to override; None for the site's own backward.
    """
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
def inference_noise(model: nn.Module, on: bool | None) -> Iterator[None]:
    """Turn the sites' firing noise at inference on or off inside the context; restored afterwards.

    Args:
        model: any module.
        on: None leaves it as it is.
    """
    before = [(site, site.noise_at_inference) for site in sites(model).values()]
    for site, _ in before:
        site.noise_at_inference = site.noise_at_inference if on is None else on
    try:
        yield
    finally:
        for site, previous in before:
            site.noise_at_inference = previous
