"""The spiking op in plain PyTorch: the readable reference that every faster twin is tested against.

Shapes: T steps, ``*many`` everything that is neither a step nor a channel (samples and positions), C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.spiking.cost import Cost
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.surrogate import Surrogate


class Fired(NamedTuple):
    """What a site gives: spikes, and what was asked about the margins v (None where it was not); see :func:`fire`."""

    spikes: Float[Tensor, "t *many c"]
    margins: Float[Tensor, "t *many c"] | None
    total: Float[Tensor, "t c"] | None
    total_of_squares: Float[Tensor, "t c"] | None
    cost_total: Float[Tensor, "t c"] | None


class _Spike(torch.autograd.Function):
    """Heaviside forward, exactly; ``slope`` (h at this margin) backward."""

    @staticmethod
    def forward(ctx, margin, slope):  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.save_for_backward(slope)
        return (margin >= 0).to(margin.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        (slope,) = ctx.saved_tensors
        return grad * slope, None


def fire(
    current: Float[Tensor, "t *many c"] | Sequence[Float[Tensor, "*many c"]],
    neuron: Neuron,
    *,
    surrogate: Surrogate,
    decay: Float[Tensor, "t *less c"] | None = None,
    gain: Float[Tensor, "t *less c"] | None = None,
    noise: Float[Tensor, "t *many c"] | Sequence[Float[Tensor, "*many c"]] | None = None,
    sharpness: Float[Tensor, "t *some c"] | None = None,
    adaptation: Float[Tensor, "t *less c"] | None = None,
    setpoint: Float[Tensor, "t *less c"] | None = None,
    want_margins: bool = False,
    want_moments: bool = False,
    cost: Cost | None = None,
    after_reset: bool = False,
) -> Fired:
    """Run the recurrence of :class:`Neuron` and gather, in the same pass, what is asked about the margins.

    ``decay`` replaces the neuron's and may differ by step and neuron (FEEL's evolutionary leak); ``gain`` multiplies
    the current likewise (DLIF). Both broadcast against the current of a step, and both are differentiable.

    ``noise`` (NLIF) moves the firing decision and nothing else: s = 1[v + noise >= 0], the surrogate is taken at
    v + noise, the carried potential and every statistic stay noise-free. A neuron that ``carries_noise`` has it
    added to the potential instead, where it stays.

    ``sharpness`` a (ASSG) rescales the surrogate element by element, h(v) -> a h(a v), which keeps its mass. Where it
    asks for a gradient it gets that of the smooth spike H(a v) whose slope the surrogate is: ds/da = v h(a v).

    ``adaptation`` and ``setpoint`` (HoSNN) move the threshold: it begins at the neuron's, and before each step's
    decision adaptation * (u - setpoint) is added to it.

    All arithmetic is float32 (float64 for a float64 current); spikes come back in the current's dtype.

    Args:
        current: x[t], for each step t.
        neuron: decay, threshold and reset.
        surrogate: h, in the place of the neuron's.
        decay, gain, noise, sharpness, adaptation, setpoint: as said above, for each step; None leaves each out.
        want_margins: give v, detached.
        want_moments: give the sums of v and v^2.
        cost: a function of v whose sums are given.
        after_reset: moments and cost are of m - threshold instead of v.

    Returns:
        Fired: spikes; ``margins`` v (detached); the sums over ``*many`` of v and v^2; and of ``cost`` of v. The sums
        are differentiable; with ``after_reset`` their v is m - threshold, of the potential that is carried on.
    """
    dtype = current[0].dtype
    wide = torch.promote_types(dtype, torch.float32)
    carried = torch.zeros_like(current[0], dtype=wide)
    level: Tensor | float = neuron.threshold
    spikes, margins, totals, squares, costs = [], [], [], [], []
    for t in range(len(current)):
        driven = current[t].to(wide) if gain is None else gain[t].to(wide) * current[t].to(wide)
        kept = neuron.decay * carried if decay is None else decay[t].to(wide) * carried
        potential = kept + driven
        if noise is not None and neuron.carries_noise:
            potential = potential + noise[t].to(wide)
        if adaptation is not None and setpoint is not None:
            level = level + adaptation[t].to(wide) * (potential - setpoint[t].to(wide))
        margin = potential - level
        noisy = margin if noise is None or neuron.carries_noise else margin + noise[t].to(wide)
        spike = _fired(noisy, surrogate, None if sharpness is None else sharpness[t])
        resetting = spike.detach() if neuron.detach_reset else spike
        soft = potential - (level if neuron.reset_by is None else neuron.reset_by) * resetting
        carried = soft if neuron.reset == "soft" else (1 - resetting) * potential
        spikes.append(spike.to(dtype))
        seen = carried - level if after_reset else margin
        if want_margins:
            margins.append(margin.detach())
        if want_moments:
            totals.append(over_all(seen))
            squares.append(over_all(seen * seen))
        if cost is not None:
            costs.append(over_all(cost(seen)))

    def stacked(parts: list[Tensor]) -> Tensor | None:
        return torch.stack(parts) if parts else None

    return Fired(torch.stack(spikes), stacked(margins), stacked(totals), stacked(squares), stacked(costs))


def _fired(margin: Tensor, surrogate: Surrogate, sharpness: Tensor | None) -> Tensor:
    fixed = margin.detach()
    if sharpness is None:
        return _Spike.apply(margin, surrogate(fixed))
    slope = surrogate(sharpness.detach() * fixed)
    spike: Tensor = _Spike.apply(margin, sharpness.detach() * slope)
    if not sharpness.requires_grad:
        return spike
    by_sharpness = sharpness * (fixed * slope)
    return spike + (by_sharpness - by_sharpness.detach())  # adds zero, and its gradient


def over_all(x: Float[Tensor, "*many c"]) -> Float[Tensor, " c"]:
    """The sum over everything but channels.

    Positions are summed first, so that a compiled reduction reads memory in order.
    """
    inner = tuple(range(1, x.ndim - 1))
    return (x.sum(inner) if inner else x).sum(0)
