"""What the methods that choose surrogate widths share: one sharpness a site, window / sharpness wide."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Site, sites


def give_sharpness(owner: str, model: nn.Module, start: float, *, learned: bool) -> dict[str, Site]:
    """Give each site of the model a sharpness of ``start``, where and as the model's parameters are.

    A network that has some, from an earlier training, goes on with them.

    Args:
        owner: the defense's name, for messages.
        model: changed in place.
        start: a, > 0; the surrogate h(v) becomes a h(a v).
        learned: whether it has a gradient, or is set by a rule.

    Returns:
        The model's sites.

    Raises:
        SpikeproofError: no sites; a sharpness by step or channel; or one to be learned that is fixed.
    """
    watched = sites(model)
    if not watched:
        raise SpikeproofError(f"{owner} sets surrogate widths at spiking sites and this model has none.")
    like = next(model.parameters(), torch.zeros(()))
    for name, site in watched.items():
        if site.sharpness is None:
            made = torch.full((1, 1), start, dtype=like.dtype, device=like.device)
            site.sharpness = nn.Parameter(made, requires_grad=learned)
        elif site.sharpness.shape != (1, 1):
            raise SpikeproofError(
                f"{owner} sets one sharpness a site, and {name} has {site.sharpness.numel()}; give a network without."
            )
        elif learned and not site.sharpness.requires_grad:
            raise SpikeproofError(
                f"{owner} learns the sharpness of every site, and that of {name} is fixed: it is frozen, or follows a "
                "defense's rule; call requires_grad_(True) on each site's sharpness to learn it."
            )
        else:
            site.sharpness.requires_grad_(learned)
    return watched


def sharpness_of(model: nn.Module) -> Iterator[nn.Parameter]:
    """The sites' sharpness parameters, each [1, 1]; every site must have one."""
    for site in sites(model).values():
        assert isinstance(site.sharpness, nn.Parameter)  # installed before
        yield site.sharpness
