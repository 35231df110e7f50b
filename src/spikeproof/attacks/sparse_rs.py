"""Sparse-RS in L0 (Croce et al. 2022, AAAI): a random search over which k pixels are set to a corner of the colours."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts, real
from spikeproof.threat import L0

# After so many of 10,000 queries the share of pixels that move is the first divided by this.
_SCHEDULE = (
    *((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10)),
    *((4000, 12), (6000, 15), (8000, 20)),
)


@attack("Sparse-RS", norms=("l0",))
def sparse_rs(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: L0,
    how: Crafting | None = None,
    *,
    queries: int = 1000,
    share: float = 0.3,
) -> Attacked:
    """k pixels are set to black, white or another corner of the colour cube; a query moves some of them elsewhere.

    The first k pixels and their colours are drawn. Each query puts max(1, a k) of them back as they were and takes as
    many others, with colours drawn anew; it is kept where the margin is no smaller. a falls with the queries, from
    ``share`` / 2 to ``share`` / 20 by the authors' schedule, stretched to the number of queries.

    It needs no gradient. Deviation from the authors' code: a margin that stays the same is kept too, since a spiking
    network's is constant on large pieces.

    Args:
        threat: L0; its radius is k.
        queries: forwards a sample.
        share: a at first, twice over.

    Raises:
        SpikeproofError: queries < 1, a share outside (0, 1], another threat than L0, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(2, 1, 8, 8)
        >>> found = sparse_rs(model, images, torch.tensor([3, 7]), L0(4), queries=10)
        >>> bool((L0(4).distance(found.images, images) <= 4).all())
        True
    """
    counts("Sparse-RS", queries=queries)
    real(share, "Sparse-RS", "share", 0, 1, above=True)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        count = min(int(threat.eps), images.shape[2] * images.shape[3])
        if len(pursuit) and count:
            _search(pursuit, count, queries, share)
        return pursuit.finish()


def _search(pursuit: Pursuit, count: int, queries: int, share: float) -> None:
    originals = pursuit.images
    chosen = _drawn(torch.ones_like(originals[:, 0], dtype=torch.bool), count)
    current = candidates = torch.where(chosen[:, None], _corners(originals), originals)
    best = torch.full((len(pursuit),), -torch.inf, device=originals.device)
    now_chosen = chosen
    for query in range(queries):
        logits = pursuit.craft.logits(candidates)
        margin = pursuit.objective(margin_of)(logits)
        better = margin >= best
        best = torch.where(better, margin, best)
        current = torch.where(better[:, None, None, None], candidates, current)
        chosen = torch.where(better[:, None, None], now_chosen, chosen)
        kept = pursuit.offer(candidates, logits)
        if kept is not None:
            current, best, chosen = current[kept], best[kept], chosen[kept]
        if query + 1 == queries or len(pursuit) == 0:
            return
        number = max(1, int(count * share / _divisor(query, queries)))
        back = _drawn(chosen, number)
        number = min(number, chosen[0].numel() - count)
        taken = _drawn(~chosen, number) if number else back  # all pixels are chosen: new colours
        now_chosen = (chosen & ~back) | taken
        candidates = torch.where(back[:, None], pursuit.images, current)
        candidates = torch.where(taken[:, None], _corners(current), candidates)


def _divisor(query: int, queries: int) -> int:
    """By how much the first share is divided at this query."""
    at = query / queries * 10_000
    return next(divisor for after, divisor in reversed(_SCHEDULE) if at >= after)


def _drawn(among: Bool[Tensor, "n h w"], number: int) -> Bool[Tensor, "n h w"]:
    """So many of the places of each sample, drawn without repetition."""
    scores = torch.where(among, torch.rand(among.shape, device=among.device), -1.0).flatten(1)
    taken = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(number, 1).indices, True)
    return taken.view(among.shape)


def _corners(like: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """0 or 1 in every channel."""
    return (torch.rand_like(like) >= 0.5).to(like.dtype)


FORMS = (
    # Its number is k.
    Form(
        name="SPARSE-RS",
        attack=sparse_rs,
        kind="black-box",
        number=10,
        norm="l0",
        ball=L0,
        most=1_000_000,
        passes=lambda _: 333.0,
    ),
)
