"""Theorem 1 of MPD-SGR at the sites of a network: the spread that it predicts, and the spread that is measured."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks import evaluating, refuse_state
from spikeproof.errors import SpikeproofError
from spikeproof.insight.theory.potentials import unreset_moments
from spikeproof.kinds import check_kinds
from spikeproof.spiking import SiteRecord, probe, sites


@dataclasses.dataclass(frozen=True)
class SiteSpread:
    """One site's currents and potentials on some images.

    Attributes:
        name: of the site.
        correlation: of a neuron's currents at two different steps, the mean over pairs of steps and channels.
        expected: the potentials' standard deviation by step, from that of the currents by Theorem 1; root mean square
            over channels.
        measured: the same, of the potentials themselves.
    """

    name: str
    correlation: float
    expected: Float[Tensor, " t"]
    measured: Float[Tensor, " t"]


@torch.no_grad()
@check_kinds
def site_spreads(model: nn.Module, images: Float[Tensor, " n *chw"]) -> list[SiteSpread]:
    """The standard deviation of potentials by step, expected by Theorem 1 and measured, at every site, in eval mode.

    A current's mean and deviation are taken by channel over samples, positions and steps, as tdBN does.

    Args:
        model: ours or an adapted one.
        images: [N, C, H, W] in [0, 1]; one batch, whose currents and potentials are in memory at once.

    Returns:
        One for each site, in order of the forward.

    Raises:
        SpikeproofError: a model without sites, one that keeps a state, fewer than 2 steps, or a site with learned
            decays or gains, of which the theorem says nothing.

    Source: MPD-SGR (2026), Theorem 1.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> first = site_spreads(model, torch.rand(4, 1, 8, 8))[0]
        >>> round(first.correlation, 3), first.measured.shape
        (1.0, torch.Size([4]))
    """
    watched = sites(model)
    for name, site in watched.items():
        if site.decay is not None or site.gain is not None or site.num_steps < 2:
            raise SpikeproofError(
                f"Theorem 1 holds for one fixed decay and several steps; the site {name!r} has learned decays or "
                "gains, or a single step."
            )
    refuse_state(model, images)
    with evaluating(model), probe(model, "margins", currents_at=set(watched)) as record:
        model(images.clone())
    return [_spread(name, recorded, watched[name].neuron.decay) for name, recorded in record.items()]


def _spread(name: str, seen: SiteRecord, decay: float) -> SiteSpread:
    assert seen.currents is not None and seen.margins is not None
    margins = _by_channel(seen.margins)
    steps = margins.shape[1]
    currents = _by_channel(seen.currents).expand(-1, steps, -1)
    centred = currents - currents.mean((1, 2), keepdim=True)
    variance = centred.square().mean((1, 2))
    together = torch.einsum("ctm,csm->cts", centred, centred) / centred.shape[2]
    apart = together.sum((1, 2)) - together.diagonal(dim1=1, dim2=2).sum(1)
    moving = variance > 1e-12  # a channel whose current is always the same has no correlation
    correlation = (apart / (steps * (steps - 1)))[moving] / variance[moving]
    _, growth = unreset_moments(decay, 0.0, 1.0, steps)
    return SiteSpread(
        name=name,
        correlation=correlation.mean().item() if len(correlation) else 0.0,
        expected=variance.mean().sqrt().cpu() * growth,
        measured=margins.var(2, unbiased=False).mean(0).sqrt().cpu(),
    )


def _by_channel(values: Float[Tensor, "k n c *space"]) -> Float[Tensor, "c k m"]:
    return values.double().movedim(2, 0).flatten(2)
