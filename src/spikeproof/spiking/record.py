"""What a probe asks of a site, and what one forward recorded there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.spiking.cost import Cost


@dataclasses.dataclass
class SiteRecord:
    """What one forward recorded at one site: exactly what the probe asked for, the rest None.

    Attributes:
        total, total_of_squares: sums of v and v^2 over samples and positions, per step and channel; differentiable.
        count: how many potentials each of these sums is over.
        window: half-width of the site's surrogate (see :mod:`spikeproof.spiking.surrogate`); a 0-d tensor where it is
            learned.
        cost_total: the sum of the probe's cost of v, likewise; differentiable.
        margins: v itself, [T, N, C, ...], detached.
        rate: mean spikes per neuron and step, 0-d, detached.
        currents: what the neurons integrate, after batch norm and before a gain, [T or 1, N, C, ...]; differentiable.
        normed: whether a batch norm drives the site.
    """

    count: int
    window: float | Float[Tensor, ""]
    total: Float[Tensor, "t c"] | None = None
    total_of_squares: Float[Tensor, "t c"] | None = None
    cost_total: Float[Tensor, "t c"] | None = None
    margins: Float[Tensor, "t n c *space"] | None = None
    rate: Float[Tensor, ""] | None = None
    currents: Float[Tensor, "k n c *space"] | None = None
    normed: bool = True

    def moments(self) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Mean and standard deviation of the margin, per step and channel; in the graph.

        The variance is 1e-6 at least, so that the standard deviation of a constant channel has a finite gradient.

        Raises:
            SpikeproofError: the probe was not asked for moments.
        """
        return joint_moments([self])


def joint_moments(records: Sequence[SiteRecord]) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
    """:meth:`SiteRecord.moments` of several sites in a few operations.

    Args:
        records: of sites with equally many steps.

    Returns:
        Mean and standard deviation, the sites' channels side by side.

    Raises:
        SpikeproofError: a record without moments.
    """
    means, squares = [], []
    for record in records:
        if record.total is None or record.total_of_squares is None:
            raise SpikeproofError("This record holds no moments; ask for them: probe(model, 'moments').")
        means.append(record.total / record.count)
        squares.append(record.total_of_squares / record.count)
    mean = torch.cat(means, 1)
    variance = torch.cat(squares, 1) - mean * mean
    return mean, variance.clamp_min(1e-6).sqrt()


@dataclasses.dataclass(frozen=True)
class Request:
    """What a probe asks of one site (as in :func:`probe`); ``store`` takes each forward's record."""

    moments: bool
    margins: bool
    rate: bool
    currents: bool
    cost: Cost | None
    after_reset: bool
    store: Callable[[SiteRecord], None]
