"""The neuron of ours that a library's neuron is, where there is one: for ``adapt(net, native=True)``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch

from spikeproof.interop.surrogate import TheirSurrogate
from spikeproof.spiking import ArcTan, Gaussian, Neuron, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle

_DIGITS = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateReset(Neuron):
    """A neuron that takes the threshold off after the decay, a step later::

        u[t] = decay * u[t-1] - threshold * s[t-1] + x[t]

    which is a soft reset by threshold / decay. For a decay above 0.

    Example:
        >>> LateReset(decay=0.5, reset="soft").reset_by
        2.0
    """

    @property
    def reset_by(self) -> float:
        return self.threshold / self.decay


@dataclasses.dataclass(frozen=True)
class Same:
    """A neuron of ours that does what a library's does, in exact arithmetic.

    Attributes:
        neuron: the recurrence, reset and surrogate.
        gain: what multiplies the current before.
    """

    neuron: Neuron
    gain: float = 1.0


def like_ours(theirs: TheirSurrogate) -> Surrogate:
    """The surrogate of ours with the same values, which kernels know; ``theirs`` itself where there is none.

    Each of ours is fixed by its peak (SuperSpike by its value at 1), so it is read off and then compared.

    Example:
        >>> like_ours(TheirSurrogate(torch.sigmoid))
        Sigmoid(alpha=1.0)
    """
    near = torch.logspace(-5, 1.5, 150, dtype=torch.float64) * 1.000123  # no edge of a support lies there
    places = torch.cat([torch.zeros(1, dtype=torch.float64), near, -near])
    expected = theirs(places)
    peak, at_one = theirs(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    for surrogate in _candidates(peak, at_one):
        if bool(((surrogate(places) - expected).abs() <= _DIGITS * peak).all()):
            return surrogate
    return theirs


def _candidates(peak: float, at_one: float) -> Iterator[Surrogate]:
    if not (math.isfinite(peak) and peak > 0):
        return
    yield ArcTan(2 * peak)
    yield Sigmoid(4 * peak)
    yield Triangle(1 / peak)
    yield Rectangular(1 / peak)
    yield Gaussian(1 / (math.sqrt(2 * math.pi) * peak))
    if peak == 1 and 0 < at_one < 1:
        yield SuperSpike(round(1 / math.sqrt(at_one) - 1, 12))
