"""A whole site in plain PyTorch: batch norm's affine map, the spiking op, average pooling; and its backward.

The backward recomputes the potentials from what drove the site, by autograd through the same reference op. These
functions run as they are, and ``ops/fused.py`` runs their compiled twins.

Shapes: T steps, K = T or 1 (one current that holds for every step), N samples, ``*space`` positions, C channels.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.spiking.cost import Cost
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.ops.noise import Tape, standard_normals
from spikeproof.spiking.ops.reference import Fired, fire, over_all
from spikeproof.spiking.surrogate import Surrogate


class Drive(NamedTuple):
    """What drives a site in one forward.

    Attributes:
        values: what came out of the layer before.
        scale, shift: batch norm as an affine map of the values; None where there is none or it is already applied.
        decay, gain, adaptation, setpoint: of each step, broadcast over samples (see ``reference.fire``).
        noise, noise_std: of the firing decision, a tape for each step; None for a site that draws none.
        sharpness: of the surrogate, element by element; or [T, C] or [T, 1], the same for many.
    """

    values: Float[Tensor, "k n *space c"]
    scale: Float[Tensor, " c"] | None = None
    shift: Float[Tensor, " c"] | None = None
    decay: Float[Tensor, "t *less c"] | None = None
    gain: Float[Tensor, "t *less c"] | None = None
    noise_std: Float[Tensor, ""] | None = None
    sharpness: Float[Tensor, "t *some c"] | None = None
    adaptation: Float[Tensor, "t *less c"] | None = None
    setpoint: Float[Tensor, "t *less c"] | None = None
    noise: tuple[Tape, ...] | None = None


# What a defense may learn at a site, in the order of a drive.
LEARNED = ("decay", "gain", "sharpness", "adaptation")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is fixed about a call: two calls of one setting (and one dtype) share a compiled kernel.

    ``pooled`` says that the positions come as (H/2, 2, W/2, 2) and that each 2x2 of them is averaged.
    """

    neuron: Neuron
    surrogate: Surrogate
    num_steps: int
    pooled: bool = False
    want_margins: bool = False
    want_moments: bool = False
    cost: Cost | None = None
    after_reset: bool = False


class Cotangents(NamedTuple):
    """The gradient of the loss by each differentiable output of a site."""

    spikes: Float[Tensor, "t n *space c"]
    total: Float[Tensor, "t c"] | None = None
    total_of_squares: Float[Tensor, "t c"] | None = None
    cost_total: Float[Tensor, "t c"] | None = None


class SiteGradients(NamedTuple):
    """The gradient by the normalised current, its sums for batch norm, and by what is learned (None: not learned)."""

    current: Float[Tensor, "k n *space c"]
    sum: Float[Tensor, " c"]
    sum_with_values: Float[Tensor, " c"]
    decay: Float[Tensor, "t *less c"] | None
    gain: Float[Tensor, "t *less c"] | None
    sharpness: Float[Tensor, "t *some c"] | None
    adaptation: Float[Tensor, "t *less c"] | None


def forward(setting: Setting, drive: Drive) -> Fired:
    """Spikes (pooled where asked) in the values' dtype, and what was asked about the margins.

    Args:
        setting: neuron, steps and what is asked.
        drive: what drives the site.
    """
    fired = _fire(drive, setting, _currents(drive))
    spikes = fired.spikes.mean((3, 5)) if setting.pooled else fired.spikes
    return fired._replace(spikes=spikes.to(drive.values.dtype))


def input_gradient(setting: Setting, drive: Drive, cotangents: Cotangents) -> Float[Tensor, "k n *space c"]:
    """The gradient by the values alone, for fixed scale and shift: all that an attack needs.

    Args:
        setting, drive: those of the forward.
        cotangents: the loss's gradient by the site's outputs.
    """
    currents, _ = _backward(drive, setting, cotangents, with_parameters=False)
    return torch.stack([_scaled(part, drive.scale).to(drive.values.dtype) for part in currents])


def all_gradients(setting: Setting, drive: Drive, cotangents: Cotangents, middle: Float[Tensor, " c"]) -> SiteGradients:
    """The gradient by the normalised current (in the values' dtype) and by every parameter at the site.

    Args:
        setting, drive: those of the forward.
        cotangents: the loss's gradient by the site's outputs.
        middle: the batch's mean. ``sum_with_values`` is the sum of gradient times (values - middle), which keeps its
            digits where the mean is large.
    """
    currents, learned = _backward(drive, setting, cotangents, with_parameters=True)
    parts = [over_all(part * (drive.values[k].to(part.dtype) - middle)) for k, part in enumerate(currents)]
    return SiteGradients(
        torch.stack([part.to(drive.values.dtype) for part in currents]),
        torch.stack([over_all(part) for part in currents]).sum(0),
        torch.stack(parts).sum(0),
        *(learned.get(name) for name in LEARNED),
    )


def add_affine(
    _: None,
    gradient: Float[Tensor, "k n *space c"],
    values: Float[Tensor, "k n *space c"],
    scale: Float[Tensor, " c"],
    constant: Float[Tensor, " c"],
    slope: Float[Tensor, " c"],
) -> Float[Tensor, "k n *space c"]:
    """scale * gradient + constant + slope * values: batch norm's backward, once its sums are known.

    Args:
        _: no setting; every function here has one.
        gradient: by the normalised current.
        values: what drove the site.
        scale, constant, slope: per channel.
    """
    return (scale * gradient + constant + slope * values).to(values.dtype)


def batch_sums(
    _: None, values: Float[Tensor, "k n *space c"]
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"], Float[Tensor, " c"]]:
    """A value of each channel, and the sums of the differences from it and of their squares, in one pass.

    Differences from a value of the data, and not the values themselves, so that a mean far from zero costs no digits.

    Args:
        _: no setting; every function here has one.
        values: what drives the site.

    Returns:
        The value, the sum of differences and the sum of squared differences, per channel; float32 or wider.
    """
    origin = values[(0,) * (values.ndim - 1)].to(torch.promote_types(values.dtype, torch.float32))
    parts = [values[k].to(origin.dtype) - origin for k in range(len(values))]
    first, second = (torch.stack([over_all(part**power) for part in parts]).sum(0) for power in (1, 2))
    return origin, first, second


def noisy_margins(setting: Setting, drive: Drive) -> Float[Tensor, "t n *space c"]:
    """v + noise, where the firing decision is made; detached.

    Args:
        setting: neuron and steps; what it asks for is not looked at.
        drive: what drives the site.
    """
    margins_only = dataclasses.replace(setting, want_margins=True, want_moments=False, cost=None)
    margins = _fire(drive, margins_only, _currents(drive)).margins
    assert margins is not None
    noise = _noise(drive, margins[0])
    carried = setting.neuron.carries_noise  # then it is in the margin already
    return margins if noise is None or carried else margins + torch.stack(noise)


class Following(NamedTuple):
    """All that is fixed about how a sharpness follows the margins (ASSG; see ``follow``)."""

    setting: Setting
    momentum: float
    relax: float
    omega: float


def follow(
    how: Following, drive: Drive, mean: Float[Tensor, "t n *space c"], spread: Float[Tensor, "t n *space c"]
) -> tuple[Tensor, Tensor, Tensor]:
    """One update of ASSG's M and D by this forward's noisy margins, and the sharpness that follows from them::

        M <- b M + (1-b) |v|,    D <- b D + (1-b) ||v| - M|,    a = omega / (M + relax D + 1e-4)

    Args:
        how: momentum b, relax and omega.
        drive: what drives the site.
        mean, spread: M and D.

    Returns:
        The new M and D, and a.
    """
    return followed(how, noisy_margins(how.setting, drive).abs(), mean, spread)


def followed(
    how: Following, distance: Float[Tensor, "*many"], mean: Float[Tensor, "*many"], spread: Float[Tensor, "*many"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The update of :func:`follow` from the margins' distances |v| from the threshold.

    Args:
        how: momentum b, relax and omega.
        distance: |v|.
        mean, spread: M and D.

    Returns:
        The new M and D, and a.
    """
    mean = how.momentum * mean + (1 - how.momentum) * distance
    spread = how.momentum * spread + (1 - how.momentum) * (distance - mean).abs()
    return mean, spread, how.omega / (mean + how.relax * spread + 1e-4)


def fired_mask(setting: Setting, drive: Drive) -> tuple[Float[Tensor, "1 n *space c"]]:
    """1 where a neuron fired at some step, times batch norm's scale.

    Args:
        setting: neuron and steps.
        drive: what drives the site.
    """
    wide = torch.promote_types(drive.values.dtype, torch.float32)
    return (_scaled(forward(setting, drive).spikes.amax(0, keepdim=True).to(wide), drive.scale),)


def mean_slope(setting: Setting, drive: Drive) -> tuple[Float[Tensor, "1 n *space c"]]:
    """The mean over the steps of a h(a v) at the noisy margins, times batch norm's scale.

    Args:
        setting: neuron, steps and the surrogate h.
        drive: what drives the site; its sharpness is a, 1 where there is none.
    """
    sharpness = 1.0 if drive.sharpness is None else _each_step(drive.sharpness, drive.values.ndim)
    slopes = sharpness * setting.surrogate(sharpness * noisy_margins(setting, drive))
    return (_scaled(slopes.mean(0, keepdim=True), drive.scale),)


class OfMean(NamedTuple):
    """All that is fixed about the gain at a mean current (RGA; see ``gain_of_mean``)."""

    setting: Setting
    slope: float


def gain_of_mean(how: OfMean, drive: Drive) -> tuple[Float[Tensor, "1 n *space c"]]:
    """RGA's gain at the mean current over the steps, times batch norm's scale (see :func:`gain_at_mean`).

    Args:
        how: setting and RGA's g.
        drive: what drives the site.
    """
    current = drive.values.to(torch.promote_types(drive.values.dtype, torch.float32))
    if drive.gain is None:
        current = current.mean(0, keepdim=True)
    if drive.shift is not None:
        current = _scaled(current, drive.scale) + drive.shift
    if drive.gain is not None:
        gained = [drive.gain[t] * current[t % len(current)] for t in range(len(drive.gain))]
        current = torch.stack(gained).mean(0, keepdim=True)
    neuron = how.setting.neuron
    decay = neuron.decay if drive.decay is None else drive.decay.mean(0)
    return (_scaled(gain_at_mean(neuron, how.slope, current, decay), drive.scale),)


def gain_at_mean(
    neuron: Neuron, slope: float, current: Float[Tensor, "*many"], decay: float | Float[Tensor, "*some"]
) -> Float[Tensor, "*many"]:
    """G of RGA at a mean current x, of a neuron with threshold 1::

        G = (1 - g + g tau) / (1 + tau)  where 1 - tau <= x <= 2,  plus g  where 0 <= x <= 1 - tau

    For another threshold it is taken at x / threshold, and divided by it.

    Args:
        neuron: gives the threshold.
        slope: g.
        current: x.
        decay: tau, in [0, 1]; broadcasts against x.
    """
    x, leaked = current / neuron.threshold, 1 - decay
    above = ((x >= leaked) & (x <= 2)).to(x.dtype) * (1 - slope * leaked) / (1 + decay)
    below = ((x >= 0) & (x <= leaked)).to(x.dtype) * slope
    return (above + below) / neuron.threshold


def _each_step(part: Tensor, ndim: int) -> Tensor:
    """[T, C] as what broadcasts against margins of so many dimensions."""
    return part if part.ndim == ndim else part.reshape(len(part), *(1,) * (ndim - 2), -1)


def _noise(drive: Drive, like: Tensor) -> list[Tensor] | None:
    if drive.noise is None or drive.noise_std is None:
        return None
    return [drive.noise_std * standard_normals(tape, like).to(like.dtype) for tape in drive.noise]


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


def _currents(drive: Drive) -> list[Tensor]:
    wide = torch.promote_types(drive.values.dtype, torch.float32)
    currents = [_scaled(value.to(wide), drive.scale) for value in drive.values.unbind(0)]
    return currents if drive.shift is None else [value + drive.shift for value in currents]


def _fire(drive: Drive, setting: Setting, currents: list[Tensor], **learned: list[Tensor]) -> Fired:
    """The reference op on these currents; ``learned`` takes the place of the drive's own, a leaf for each step."""
    every = currents * (setting.num_steps // len(currents))
    return fire(
        every,
        setting.neuron,
        surrogate=setting.surrogate,
        noise=_noise(drive, every[0]),
        setpoint=drive.setpoint,
        **{name: learned.get(name, getattr(drive, name)) for name in LEARNED},
        want_margins=setting.want_margins,
        want_moments=setting.want_moments,
        cost=setting.cost,
        after_reset=setting.after_reset,
    )


def _backward(
    drive: Drive, setting: Setting, cotangents: Cotangents, *, with_parameters: bool
) -> tuple[list[Tensor], dict[str, Tensor]]:
    spikes = cotangents.spikes.to(torch.promote_types(drive.values.dtype, torch.float32))
    if setting.pooled:
        shape = drive.values.shape[1:]
        spikes = spikes[:, :, :, None, :, None].expand(setting.num_steps, *shape) / (shape[2] * shape[4])
    with torch.enable_grad():
        # A leaf for each step, not one for all: else the gradient of each is scattered into a tensor of zeros.
        leaves = [part.detach().requires_grad_() for part in _currents(drive)]
        extra = {
            name: [part.detach().requires_grad_() for part in getattr(drive, name).unbind(0)]
            for name in LEARNED
            if getattr(drive, name) is not None and with_parameters
        }
        fired = _fire(drive, dataclasses.replace(setting, want_margins=False), leaves, **extra)
        outputs, given = [fired.spikes], [spikes]
        for output, cotangent in zip(fired[2:], cotangents[1:], strict=True):
            if output is not None and cotangent is not None:
                outputs.append(output)
                given.append(cotangent)
        wanted = [*leaves, *(leaf for group in extra.values() for leaf in group)]
        gradients = list(torch.autograd.grad(outputs, wanted, given))
    currents, rest = gradients[: len(leaves)], gradients[len(leaves) :]
    steps = setting.num_steps
    return currents, {name: torch.stack(rest[at * steps : (at + 1) * steps]) for at, name in enumerate(extra)}
