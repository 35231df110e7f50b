"""What the methods that choose surrogate widths share: one sharpness a site, window / sharpness wide."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Site, sites


def check_free(owner: str, model: nn.Module) -> dict[str, Site]:
    """The model's sites, none of which has a sharpness yet.

    Raises:
        SpikeproofError: no sites, or one whose sharpness another defense set.
    """
    watched = sites(model)
    if not watched:
        raise SpikeproofError(f"{owner} sets surrogate widths at spiking sites and this model has none.")
    if any(site.sharpness is not None for site in watched.values()):
        raise SpikeproofError(f"{owner} found surrogate widths that are set already; list one defense that sets them.")
    return watched


def fill_sharpness(site: Site, value: float, model: nn.Module, *, learned: bool) -> None:
    """Give the site a sharpness of ``value``, where and as the model's parameters are."""
    like = next(model.parameters(), torch.zeros(()))
    made = torch.full((1, 1), value, dtype=like.dtype, device=like.device)
    site.sharpness = nn.Parameter(made, requires_grad=learned)


def sharpness_of(model: nn.Module) -> Iterator[nn.Parameter]:
    """The sites' sharpness parameters."""
    for site in sites(model).values():
        assert isinstance(site.sharpness, nn.Parameter)  # installed before
        yield site.sharpness
