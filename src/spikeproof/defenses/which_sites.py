"""Which sites a penalty on potentials takes, those behind a batch norm or all, and how it adds up their channels."""

from __future__ import annotations

from typing import Literal

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Record, sites

Which = Literal["normed", "all"]
Dose = Literal["mean", "channel"]
# What the dose "channel" divides by in place of a layer's own channels: those of a first layer of the papers' networks.
CHANNELS = 64


def chosen(record: Record, which: Which) -> Record:
    """What the sites of the penalty recorded, in order of the forward.

    Example:
        >>> list(chosen(Record(), "normed"))
        []
    """
    return record if which == "all" else Record({name: seen for name, seen in record.items() if seen.normed})


def check_which(owner: str, which: Which, model: nn.Module) -> None:
    """Refuse a model that has no such site; one that no forward has shown yet may have some.

    Raises:
        SpikeproofError: it has sites, but none behind a batch norm.
    """
    if which == "normed" and all(site.normed is False for site in sites(model).values()):
        raise SpikeproofError(
            f"{owner} acts on the sites that have a batch norm, and this model has none; give sites='all' for the "
            "others."
        )
