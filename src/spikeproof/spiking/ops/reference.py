"""The spiking op in plain PyTorch: the readable truth that every faster twin is tested against.

Shapes: T steps, ``*many`` everything that is neither a step nor a channel (samples and positions), C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.surrogate import Surrogate


class Fired(NamedTuple):
    """What a site gives: spikes, and what was asked about the margins (None where it was not)."""

    spikes: Float[Tensor, "t *many c"]
    margins: Float[Tensor, "t *many c"] | None
    total: Float[Tensor, "t c"] | None
    total_of_squares: Float[Tensor, "t c"] | None
    hinge_total: Float[Tensor, "t c"] | None


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
    leak: Float[Tensor, "t *less c"] | None = None,
    gain: Float[Tensor, "t *less c"] | None = None,
    noise: Float[Tensor, "t *many c"] | Sequence[Float[Tensor, "*many c"]] | None = None,
    sharpness: Float[Tensor, "t *some c"] | None = None,
    want_margins: bool = False,
    want_moments: bool = False,
    hinge_width: float | None = None,
) -> Fired:
    """Run the recurrence of :class:`Neuron` and gather, in the same pass, what is asked about the margins.

    ``leak`` replaces the neuron's and may differ by step and neuron (FEEL's evolutionary leak); ``gain`` multiplies the
    current likewise (DLIF). Both broadcast against the current of a step, and both are differentiable.

    ``noise`` (NLIF) moves the firing decision and nothing else: s = 1[v + noise >= 0], the surrogate is taken at
    v + noise, the carried potential and every statistic stay noise-free.

    ``sharpness`` a (ASSG) rescales the surrogate element by element, h(v) -> a h(a v), which keeps its mass.

    All arithmetic is float32 (float64 for a float64 current); spikes come back in the current's dtype.

    Returns:
        Fired: spikes; ``margins`` v (detached); the sums over ``*many`` of v and v^2; and of max(0, hinge_width - |v|).
        The sums are differentiable.
    """
    dtype = current[0].dtype
    wide = torch.promote_types(dtype, torch.float32)
    carried = torch.zeros_like(current[0], dtype=wide)
    spikes, margins, totals, squares, hinges = [], [], [], [], []
    for t in range(len(current)):
        driven = current[t].to(wide) if gain is None else gain[t].to(wide) * current[t].to(wide)
        kept = neuron.leak * carried if leak is None else leak[t].to(wide) * carried
        potential = kept + driven
        margin = potential - neuron.threshold
        noisy = margin if noise is None else margin + noise[t].to(wide)
        fixed = noisy.detach()
        slope = surrogate(fixed) if sharpness is None else sharpness[t] * surrogate(sharpness[t] * fixed)
        spike = _Spike.apply(noisy, slope)
        resetting = spike.detach() if neuron.detach_reset else spike
        soft = potential - neuron.threshold * resetting
        carried = soft if neuron.reset == "soft" else (1 - resetting) * potential
        spikes.append(spike.to(dtype))
        if want_margins:
            margins.append(margin.detach())
        if want_moments:
            totals.append(over_all(margin))
            squares.append(over_all(margin * margin))
        if hinge_width is not None:
            hinges.append(over_all((hinge_width - margin.abs()).clamp_min(0)))

    def stacked(parts: list[Tensor]) -> Tensor | None:
        return torch.stack(parts) if parts else None

    return Fired(torch.stack(spikes), stacked(margins), stacked(totals), stacked(squares), stacked(hinges))


def over_all(x: Float[Tensor, "*many c"]) -> Float[Tensor, " c"]:
    """The sum over everything but channels; positions first, so that a compiled reduction stays near in memory."""
    inner = tuple(range(1, x.ndim - 1))
    return (x.sum(inner) if inner else x).sum(0)
