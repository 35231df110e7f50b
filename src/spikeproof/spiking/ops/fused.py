"""The fused site: batch norm, firing and pooling in few passes over memory, saving only what drove the site.

Forward: one pass for batch statistics (training), one for everything else. Backward: the potentials are recomputed from
the saved values; one pass where only the input's gradient is wanted (an attack), two in training, where batch norm
needs two sums first. Each pass is the compiled twin of a function of ``ops/drive.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.spiking.norm import Across
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops.drive import LEARNED, Cotangents, Drive, Setting
from spikeproof.spiking.ops.kernels import run
from spikeproof.spiking.ops.noise import Tape
from spikeproof.spiking.ops.reference import Fired
from spikeproof.spiking.surrogate import Triangle


class Norm(NamedTuple):
    """A batch norm in training: its parameters; the statistics are the batch's, across all processes."""

    weight: Float[Tensor, " c"]
    bias: Float[Tensor, " c"]
    eps: float
    across: Across | None = None


@dataclasses.dataclass(frozen=True)
class BatchStatistics:
    """What a batch norm saw: of every channel the mean and the (biased) variance of ``count`` values."""

    mean: Float[Tensor, " c"]
    variance: Float[Tensor, " c"]
    count: int


def fire(
    drive: Drive, setting: Setting, norm: Norm | None = None, *, learning: bool = False
) -> tuple[Fired, BatchStatistics | None]:
    """``ops.drive.forward`` after ``norm``, with a backward that recomputes; the same numbers to rounding.

    Args:
        drive: in its natural shapes, values [K, N, *space, C]. With a ``norm``, scale and shift follow from it.
        setting: neuron, steps and what is asked.
        norm: a batch norm in training; None where it is a scale and a shift already, or there is none.
        learning: whether the network is in training: its sites without parameters then share the kernels of the others.

    Returns:
        What the site gives, and the batch's statistics; None without a ``norm``.
    """
    natural = drive.values.shape
    canonical = _canonical(drive, setting.pooled)
    if drive.scale is None and norm is None:  # as a scale of 1, so that sites with and without a norm share kernels
        wide = torch.promote_types(drive.values.dtype, torch.float32)
        one = torch.ones(natural[-1], dtype=wide, device=drive.values.device)
        canonical = canonical._replace(scale=one, shift=torch.zeros_like(one))
    weight, bias, eps, across = norm or (None, None, 0.0, None)
    spikes, margins, *sums, mean, variance = _Site.apply(
        setting, learning, canonical.noise, eps, across, weight, bias, *canonical[:-1]
    )
    if not setting.pooled:
        spikes = spikes.reshape(setting.num_steps, *natural[1:])
    if margins is not None:
        margins = margins.reshape(setting.num_steps, *natural[1:])
    count = drive.values.numel() // natural[-1]
    seen = None if mean is None else BatchStatistics(mean, variance, count if across is None else across.count(count))
    return Fired(spikes, margins, *sums), seen


def elementwise(function: Callable[..., Any], setting: Hashable, drive: Drive, *others: Tensor) -> list[Tensor]:
    """``function(setting, drive, *others)`` as its compiled twin; not differentiable.

    Args:
        function: of ``ops/drive.py``; gives tensors [T, N, *space, C].
        setting: its first argument, all that is fixed.
        drive: what drives the site, in its natural shapes.
        others: further tensors [T, N, *space, C].
    """
    natural = drive.values.shape[1:]
    outputs = run(function, setting, _canonical(drive, False), *(_with_samples(part, False) for part in others))
    return [part.reshape(-1, *natural) for part in outputs]


def _canonical(drive: Drive, pooled: bool) -> Drive:
    by_neuron = (drive.decay, drive.gain, drive.adaptation, drive.setpoint)
    decay, gain, adaptation, setpoint = (None if part is None else _without_samples(part, pooled) for part in by_neuron)
    return drive._replace(
        values=_with_samples(drive.values, pooled),
        sharpness=None if drive.sharpness is None else _with_samples(drive.sharpness, pooled),
        decay=decay,
        gain=gain,
        adaptation=adaptation,
        setpoint=setpoint,
    )


def _with_samples(part: Tensor, pooled: bool) -> Tensor:
    """[K, N, *space, C] as [K, N, P, C], or before pooling as [K, N, H/2, 2, W/2, 2, C]; less than that as it is."""
    if part.ndim <= 2:
        return part.contiguous()
    if pooled:
        return part.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).contiguous()
    if part.ndim == 3:  # no positions: then samples take their place
        return part.unsqueeze(1).contiguous()
    return part.flatten(2, -2).contiguous()


def _without_samples(part: Tensor, pooled: bool) -> Tensor:
    """[T, *less, C] as [T, P, C], or before pooling as [T, H/2, 2, W/2, 2, C]; a 1 for all positions stays one."""
    if part.ndim < 4:
        return part.contiguous()
    if not pooled:
        return part.flatten(1, -2).contiguous()
    for dim in (2, 1):
        part = part.unflatten(dim, (-1, 2)) if part.shape[dim] > 1 else part.unsqueeze(dim)
    return part.contiguous()


class _Site(torch.autograd.Function):
    """Tensors in canonical shapes; see ``fire``."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,  # noqa: ANN001
        setting: Setting,
        learning: bool,
        noise: tuple[Tape, ...] | None,
        eps: float,
        across: Across | None,
        weight: Tensor | None,
        bias: Tensor | None,
        *driven: Tensor | None,
    ):
        ctx.set_materialize_grads(False)
        drive = Drive(*driven, noise)  # type: ignore[arg-type,call-arg]
        mean = variance = rstd = None
        with torch.autocast(drive.values.device.type, enabled=False):
            if weight is not None and bias is not None:
                origin, first, second = run(plain.batch_sums, None, _merged(drive.values))
                offset = first / _count(drive.values)
                mean, variance = origin + offset, (second / _count(drive.values) - offset * offset).clamp_min(0)
                if across is not None:
                    mean, variance = across.moments(mean, variance)
                rstd = (variance + eps).rsqrt()
                drive = drive._replace(scale=weight * rstd, shift=bias - mean * weight * rstd)
            # The surrogate is the backward's; left out here, so that one kernel serves them all.
            seen = dataclasses.replace(setting, surrogate=Triangle()), drive._replace(sharpness=None)
            outputs = iter(run(plain.forward, *seen))
        asked = (setting.want_margins, setting.want_moments, setting.want_moments, setting.cost is not None)
        spikes, margins, *sums = next(outputs), *(next(outputs) if wanted else None for wanted in asked)
        ctx.setting, ctx.learning, ctx.noise, ctx.across = setting, learning, noise, across
        ctx.save_for_backward(mean, rstd, *drive[:-1])
        ctx.mark_non_differentiable(*(part for part in (margins, mean, variance) if part is not None))
        return spikes, margins, *sums, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, spikes, margins, *rest):  # type: ignore[no-untyped-def]  # noqa: ANN001
        setting: Setting = ctx.setting
        mean, rstd, *driven = ctx.saved_tensors
        drive = Drive(*driven, ctx.noise)  # type: ignore[call-arg]
        values = drive.values
        assert drive.scale is not None  # fire puts a scale of 1 there
        sums = [None if part is None else part.contiguous() for part in rest[:3]]
        setting = dataclasses.replace(setting, want_margins=False)
        if all(part is None for part in sums):  # probed, and the loss does not use it
            setting = dataclasses.replace(setting, want_moments=False, cost=None)
        if spikes is None:
            spikes = _no_spikes_matter(values, setting)
        cotangents = Cotangents(spikes.contiguous(), *sums)
        wanted = dict(zip(("weight", "bias", *Drive._fields[:-1]), ctx.needs_input_grad[5:], strict=True))
        with torch.autocast(values.device.type, enabled=False):
            parameters_wanted = any(wanted[name] for name in ("scale", "shift", *LEARNED))
            if not ctx.learning and mean is None and not parameters_wanted:
                (gradient,) = run(plain.input_gradient, setting, drive, cotangents)
                return *(None,) * 7, gradient, *(None,) * (len(Drive._fields) - 2)
            middle = torch.zeros_like(drive.scale) if mean is None else mean
            gradient, total, with_values, *parameters = run(plain.all_gradients, setting, drive, cotangents, middle)
            names = [name for name in LEARNED if getattr(drive, name) is not None]
            found = dict(zip(names, parameters, strict=True))
            slope = constant = torch.zeros_like(total)
            if mean is None:
                found["scale"], found["shift"] = with_values, total
            else:  # the statistics move with the values
                found["weight"], found["bias"] = rstd * with_values, total
                count = _count(values)
                if (
                    ctx.across is not None
                ):  # and with those of all processes: the parameters' gradients are added up later
                    total, with_values = ctx.across.sum(torch.stack([total, with_values]))
                    count = ctx.across.count(count)
                slope = -drive.scale * rstd * rstd * with_values / count
                constant = -drive.scale * total / count - slope * mean
            affine = (_merged(gradient), _merged(values), drive.scale, constant, slope)
            (gradient,) = run(plain.add_affine, None, *affine)
            found["values"] = gradient.reshape(values.shape)
        return *(None,) * 5, *(found.get(name) for name in wanted)


def _merged(part: Tensor) -> Tensor:
    """[1, K*N, P, C]: for what does not tell steps from samples, so that one kernel serves every K."""
    return part.flatten(2, -2).flatten(0, 1).unsqueeze(0)


def _count(values: Tensor) -> int:
    return values.numel() // values.shape[-1]


def _no_spikes_matter(values: Tensor, setting: Setting) -> Tensor:
    _, samples, *space, channels = values.shape
    return values.new_zeros(setting.num_steps, samples, *(space[::2] if setting.pooled else space), channels)
