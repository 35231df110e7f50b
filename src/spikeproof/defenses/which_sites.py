"""Which sites a penalty on potentials takes, those behind a batch norm or all, and how it adds up their channels."""

from __future__ import annotations

from typing import Literal

from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Record, sites

Which = Literal["normed", "all"]
Dose = Literal["mean", "channel"]
# The dose "channel" divides by this number instead of a layer's channels; the papers' first layers have as many.
CHANNELS = 64


def chosen(record: Record, which: Which) -> Record:
    """The records of the sites that a penalty takes, in order of the forward.

    Args:
        record: of all sites.
        which: "normed" (behind a batch norm) or "all".

    Raises:
        SpikeproofError: there are sites, but none behind a batch norm.

    Example:
        >>> list(chosen(Record(), "normed"))
        []
    """
    if which == "all":
        return record
    normed = Record({name: seen for name, seen in record.items() if seen.normed})
    if record and not normed:
        raise SpikeproofError(_none("A penalty on potentials"))
    return normed


def check_which(owner: str, which: Which, model: nn.Module) -> None:
    """Refuse a model that has no site for a penalty.

    Args:
        owner: the defense's name, for the message.
        which: "normed" (behind a batch norm) or "all".
        model: with sites. An adapted one may show only in its first forward which sites have a norm; it is let pass.

    Raises:
        SpikeproofError: it has sites, but none behind a batch norm.
    """
    if which == "normed" and all(site.normed is False for site in sites(model).values()):
        raise SpikeproofError(_none(owner))


def _none(owner: str) -> str:
    return (
        f"{owner} acts on the sites that have a batch norm, and this model has none; give sites='all' for the others."
    )
