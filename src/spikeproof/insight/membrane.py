"""Where a model's potentials lie: per site the margins' histogram, Omega, the threshold-proximal share, firing."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks import evaluating, refuse_state
from spikeproof.defenses import overlap
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.records.audit_json import Histogram, SiteMargins
from spikeproof.spiking import SiteRecord, probe, sites

_BINS = 64
_BATCH = 50  # the margins of all sites are in memory at once, so few images at a time


class _Tally:
    """Running sums of one site over batches."""

    def __init__(self, first: SiteRecord, width: float) -> None:
        margins = _margins(first)
        # The quantile of a few ten thousand values is as good as that of all, and torch.quantile takes no more.
        thinned = margins[:: max(1, len(margins) // 50_000)]
        low, high = torch.quantile(thinned, torch.tensor([0.005, 0.995], device=margins.device)).tolist()
        self.window = float(first.window)
        self.low, self.high = min(low, -self.window) - 0.1, max(high, self.window) + 0.1
        self.counts = torch.zeros(_BINS, dtype=torch.int64)
        self.width = width
        self.inside = self.near = self.seen = self.count = 0
        self.fired = 0.0
        self.total = self.squares = torch.zeros(())

    def add(self, record: SiteRecord) -> None:
        margins = _margins(record)
        assert record.total is not None and record.total_of_squares is not None
        self.counts += torch.histc(margins, _BINS, self.low, self.high).long().cpu()
        self.inside += int((margins.abs() < self.window).sum())
        self.near += int((margins.abs() < self.width).sum())
        self.fired += float((margins >= 0).sum())
        self.seen += len(margins)
        self.count += record.count
        self.total = self.total + record.total.double().cpu()
        self.squares = self.squares + record.total_of_squares.double().cpu()

    def statistics(self, name: str) -> SiteMargins:
        mean, std = SiteRecord(
            count=self.count, window=self.window, total=self.total, total_of_squares=self.squares
        ).moments()
        edges = torch.linspace(self.low, self.high, _BINS + 1)
        return SiteMargins(
            name=name,
            window=self.window,
            omega=overlap(mean, std, self.window).mean().item(),
            window_share=self.inside / self.seen,
            proximal_share=self.near / self.seen,
            proximal_width=self.width,
            firing_rate=self.fired / self.seen,
            histogram=Histogram(edges=tuple(edges.tolist()), counts=tuple(self.counts.tolist())),
        )


def _margins(record: SiteRecord) -> Float[Tensor, " n"]:
    assert record.margins is not None
    return record.margins.flatten().float()


@torch.no_grad()
@check_kinds
def describe_sites(model: nn.Module, images: Float[Tensor, " n *chw"]) -> list[SiteMargins]:
    """Statistics of every site's margins v = u - threshold on these images, in eval mode.

    Omega is MPD-SGR's share of the potentials in the surrogate's window, if they were normal; the window's share and
    the share within threshold / 2 (TGO's threshold-proximal neurons) are counted.

    Args:
        model: ours or an adapted one.
        images: in [0, 1], one or more.

    Returns:
        A :class:`spikeproof.records.audit_json.SiteMargins` for each site, in order of the forward; an empty list for a
        model without sites.

    Raises:
        SpikeproofError: a network that keeps a state, or potentials that are not finite.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> [site.name for site in describe_sites(model, torch.rand(4, 1, 8, 8))]
        ['body.0', 'body.2', 'body.5']

    Sources: Omega is Eq. 13 of MPD-SGR (Jiang et al. 2026), per step and channel and then averaged; threshold-proximal
    neurons are TGO's (2026).
    """
    watched = sites(model)
    if not watched:
        return []
    refuse_state(model, images)
    tallies: dict[str, _Tally] = {}
    with evaluating(model), probe(model, "moments", "margins") as record:
        for chunk in images.split(_BATCH):
            model(chunk.clone())  # a network may work in place
            for name, seen in record.items():
                if not bool(_margins(seen).isfinite().all()):
                    raise SpikeproofError(
                        f"Potentials of the site {name} are not finite on these images, so no number can be given; "
                        "look for a weight or a gain that is far too large."
                    )
                if name not in tallies:
                    tallies[name] = _Tally(seen, watched[name].neuron.threshold / 2)
                tallies[name].add(seen)
    return [tally.statistics(name) for name, tally in tallies.items()]
