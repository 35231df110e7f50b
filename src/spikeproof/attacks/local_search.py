"""The local search: small random changes of the best image that other attacks found, by queries alone.

It is Square Attack's random search (Andriushchenko et al. 2020), made local: windows stay small, and it begins where
gradient attacks end. A spiking network's logits are piecewise constant in the image. An attack by gradients stops at a
small margin, because the gradient says nothing of the last step; a small random change still flips spikes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack, check_start
from spikeproof.attacks.multi_targeted import check_counts
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.sending import sent
from spikeproof.threat import Linf, Threat

# A window's side is drawn from these, small ones more often (measured: docs/log.md).
_SIDES = (1, 1, 2, 2, 3, 4, 6)


@attack("The local search")
def local_search(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    queries: int = 4800,
    walk: int = 1200,
    start: Float[Tensor, "n c h w"] | None = None,
) -> Attacked:
    """Change a small random window of each sample's best image; keep the change where the margin does not grow.

    The margin is z_y - max_{j != y} z_j. A third of all small changes leave it exactly as it was; these are kept too,
    so a walk drifts over a plateau. After ``walk`` queries the search begins again from the start, since another walk
    breaks other samples than a longer one.

    Linf: the window's side is drawn for each sample from 1, 1, 2, 2, 3, 4, 6. Each channel of it goes to the upper or
    the lower face of the ball. L2: a random amount of the ball's radius, in a window, is added with a random sign to
    each channel, and the whole is brought back to the ball. No gradient is used, whatever the source. Where a verdict
    takes several draws, the image that stands is asked again beside each candidate: the margin of a lucky draw would
    stand for ever.

    Args:
        threat: Linf or L2.
        queries: of each sample in all, after the one for the start.
        walk: after how many of them it begins again.
        start: images in the ball to begin at, such as another attack's ``nearest``; the images themselves by default.

    Raises:
        SpikeproofError: queries or walk < 1, a start of another shape or outside the ball, or images outside [0, 1].

    Example:
        >>> from spikeproof.attacks import sa_pgd
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> first = sa_pgd(model, images, labels, Linf(0.1), steps=5)
        >>> then = local_search(model, images, labels, Linf(0.1), queries=20, start=first.nearest)
        >>> bool((then.correct <= first.correct).all())
        True

    Sources: the rule is Square's (Andriushchenko et al. 2020, ECCV, algorithm 2). Beginning at another attack's image,
    windows that stay small, ties, and beginning again are ours.
    """
    check_counts("The local search", queries=queries, walk=walk)
    begin = images if start is None else check_start(start, images, threat)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        for done in range(0, queries, walk):
            if len(pursuit) == 0:
                break
            _walk(pursuit, begin[pursuit.index], threat, min(walk, queries - done))
        return pursuit.finish()


def _walk(pursuit: Pursuit, start: Float[Tensor, "n c h w"], threat: Threat, queries: int) -> None:
    """One search from the start, of the samples still chased."""
    craft, current = pursuit.craft, start
    logits = craft.logits(current)
    least = pursuit.objective(margin_of)(logits)
    kept = pursuit.offer(current, logits)
    if kept is not None:
        current, least = current[kept], least[kept]
    for _ in range(queries):
        if len(pursuit) == 0:
            return
        tried = _changed(current, pursuit.images, threat)
        logits = craft.logits(tried)
        margin = pursuit.objective(margin_of)(logits)
        if craft.random:
            least = pursuit.objective(margin_of)(craft.logits(current))
        taken = margin >= least
        least = torch.where(taken, margin, least)
        current = torch.where(taken[:, None, None, None], tried, current)
        kept = pursuit.offer(tried, logits)
        if kept is not None:
            current, least = current[kept], least[kept]


def _changed(current: Tensor, originals: Tensor, threat: Threat) -> Float[Tensor, "n c h w"]:
    """Each image with one window of it changed."""
    window = _windows(current)
    if isinstance(threat, Linf):
        faces = threat.project(originals + threat.radius * _signs(current), originals)
        return torch.where(window, faces, current)
    share = torch.rand(len(current), 1, 1, 1, dtype=current.dtype, device=current.device)
    pushed = threat.steepest(window * _signs(current)) * (threat.radius * share)
    offset = current + pushed - originals
    return threat.project(originals + threat.radius * threat.steepest(offset), originals)


def _windows(images: Float[Tensor, "n c h w"]) -> Tensor:
    """A square window of each image, [n, 1, h, w], as large as it may be and anywhere it fits."""
    height, width = images.shape[2:]
    draw = torch.rand(3, len(images), 1, dtype=torch.float32, device=images.device)
    sides = sent(torch.tensor(_SIDES), images.device)
    side = sides[(draw[0] * len(_SIDES)).long()].clamp(max=min(height, width))
    top, left = ((draw[i] * (extent - side + 1)).long() for i, extent in ((1, height), (2, width)))
    rows, columns = (torch.arange(extent, device=images.device) for extent in (height, width))
    down, across = ((at >= first) & (at < first + side) for at, first in ((rows, top), (columns, left)))
    return (down[:, :, None] & across[:, None, :])[:, None]


def _signs(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
    return torch.where(torch.rand_like(images[:, :, :1, :1]) < 0.5, -1.0, 1.0).to(images.dtype)
