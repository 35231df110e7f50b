"""Bounds through the spiking recurrence: per step an interval of the potential, and spikes that are 0, 1 or either."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.certify.interval import Interval, Rounding
from spikeproof.spiking import Neuron


def spikes_within(
    currents: Interval,
    neuron: Neuron,
    num_steps: int,
    rounding: Rounding,
    *,
    decay: Float[Tensor, "t *less c"] | None = None,
    gain: Float[Tensor, "t *less c"] | None = None,
) -> Interval:
    """Bounds of the spikes [T, ...] that :class:`~spikeproof.spiking.Neuron` fires, with its hard threshold::

        u[t] in decay m[t-1] + gain x[t]
        s[t] = 1 where all of u[t] >= threshold, 0 where all of it is below, else in [0, 1]
        m[t], hard reset:  [0, 0],   u[t],   or [min(u_low, 0), threshold]
        m[t], soft reset:  u[t] - threshold,   u[t],   or [min(u_low, 0), max(threshold, u_high - threshold)]

    for the three cases in their order. In the last case a neuron that did not fire has u < threshold, and one that did
    has u >= threshold, so a soft reset leaves at least 0 of it. These are the bounds of S-IBP (Liang et al. 2022,
    NeurIPS) for one neuron and step, as we derive them; steps are bounded one after the other, so that a neuron whose
    current is uncertain at several steps may be given spike trains that no single image has. That makes bounds wider,
    never wrong.

    Args:
        currents: of x, [K, ...], channels last; K = 1 for a current that is the same at every step, else T.
        decay, gain: what a defense learned (see ``Site``); None for the neuron's own and for 1.

    Returns:
        Bounds [T, ...].
    """
    level = neuron.threshold
    carried = Interval(torch.zeros_like(currents.low[0]), torch.zeros_like(currents.low[0]))
    lows, highs = [], []
    for t in range(num_steps):
        current = currents.each(lambda bound, at=t: bound[at % len(bound)])  # type: ignore[misc]
        driven = current if gain is None else current.times(gain[t % len(gain)].double())
        kept = carried.times(neuron.decay if decay is None else decay[t % len(decay)].double())
        potential = kept.plus(driven).widened(rounding.margin(kept.largest + driven.largest, 3))
        slack = rounding.margin(potential.largest + level, 2)
        above = potential.each(lambda bound: bound - level).widened(slack)
        # Asked so that a bound that is not a number decides nothing.
        fires, silent = above.low >= 0, above.high < 0
        after = above if neuron.reset == "soft" else Interval(torch.zeros_like(slack), torch.zeros_like(slack))
        highest = level + slack
        if neuron.reset == "soft":
            highest = torch.maximum(highest, above.high)
        either = Interval(potential.low.clamp_max(0) - slack, highest)
        carried = Interval(
            torch.where(fires, after.low, torch.where(silent, potential.low, either.low)),
            torch.where(fires, after.high, torch.where(silent, potential.high, either.high)),
        )
        lows.append(fires.to(potential.low.dtype))
        highs.append((~silent).to(potential.low.dtype))
    return Interval(torch.stack(lows), torch.stack(highs))
