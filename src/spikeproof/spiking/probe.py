"""The probe: ask every site for named quantities, for as long as the context lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Literal

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking.cost import Cost
from spikeproof.spiking.record import Request, SiteRecord
from spikeproof.spiking.site import sites

Asked = Literal["moments", "margins", "rate"]


class Record(dict[str, SiteRecord]):
    """What a probe recorded in the latest forward, by site name, in order of the forward."""


@contextlib.contextmanager
def probe(
    model: nn.Module,
    *asked: Asked,
    cost: Cost | None = None,
    after_reset: bool = False,
    currents_at: Collection[str] = (),
) -> Iterator[Record]:
    """Have the sites of ``model`` record, in each forward inside, exactly what is asked; afterwards they are as before.

    Args:
        model: ours or an adapted one.
        asked: "moments" (sums of v and v^2, differentiable), "margins" (v itself, detached; takes much memory), "rate"
            (mean spikes per neuron and step).
        cost: a function of the margin whose sums are recorded, such as ``Hinge(0.5)``; None records none.
        after_reset: True takes moments and costs of the potential that is carried on, m - threshold, instead of v.
        currents_at: names of the sites whose currents are recorded, differentiable (takes much memory).

    Yields:
        Record: site name to :class:`SiteRecord`, renewed by each forward; still readable after the context.

    Raises:
        SpikeproofError: an unknown request, or a model without sites.

    Example:
        >>> import torch
        >>> from spikeproof.spiking import Neuron, Site
        >>> site = Site(Neuron(), num_steps=2)
        >>> with probe(site, "moments") as record:
        ...     _ = site(torch.ones(2, 3))
        >>> record[""].total.shape
        torch.Size([2, 3])
    """
    unknown = set(asked) - {"moments", "margins", "rate"}
    if unknown:
        raise SpikeproofError(f"A probe can be asked for moments, margins and rate, not {sorted(unknown)}.")
    watched = sites(model)
    if not watched:
        raise SpikeproofError("This model has no sites to probe; use a spikeproof model or adapt its neurons to Site.")
    record = Record()
    before = {name: site.request for name, site in watched.items()}
    for name, site in watched.items():
        site.request = Request(
            moments="moments" in asked,
            margins="margins" in asked,
            rate="rate" in asked,
            currents=name in currents_at,
            cost=cost,
            after_reset=after_reset,
            store=lambda seen, name=name: record.__setitem__(name, seen),  # type: ignore[misc]
        )
    try:
        yield record
    finally:
        for name, site in watched.items():
            site.request = before[name]
