"""The local search: small random changes of the best image that other attacks found, by queries alone.

It is Square Attack's random search (Andriushchenko et al. 2020), made local: windows stay small, and it begins where
gradient attacks end. A spiking network's logits are piecewise constant in the image. An attack by gradients stops at a
small margin, because the gradient says nothing of the last step; a small random change still flips spikes.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack, check_start
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts
from spikeproof.sending import sent
from spikeproof.threat import Linf, Threat

# All measured on validation images (docs/log.md). A window's side is drawn from these, small ones more often.
_SIDES = (1, 1, 2, 2, 3, 4, 6)
# Of the margin at the start: what may be left at the most after so many queries, and after the first whole walk. A
# search of more than _LOOKS_OF queries looks as many times later.
_FIRST_LOOK, _LEFT_THEN, _LEFT_LATER = 250, 0.6, 0.5
_LOOKS_OF = 9600


@attack("The local search")
def local_search(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    queries: int = 9600,
    walk: int = 1200,
    start: Float[Tensor, "n c h w"] | None = None,
) -> Attacked:
    """Change a small random window of each sample's best image; keep the change where the margin does not grow.

    The margin is z_y - max_{j != y} z_j. A third of all small changes leave it exactly as it was; these are kept too,
    so a walk drifts over a plateau. After ``walk`` queries it begins again from the start, several times side by side,
    since another walk breaks other samples than a longer one. Queries are spent where they may break something: a
    sample is given up whose margin is above 0.6 of the start's after 250 queries, or has not come down to half of it
    by the end of a walk. A search of more than 9,600 queries is as many times more patient.

    Linf: the window's side is drawn for each sample from 1, 1, 2, 2, 3, 4, 6. Each channel of it goes to the upper or
    the lower face of the ball. L2: a random amount of the ball's radius, in a window, is added with a random sign to
    each channel, and the whole is brought back to the ball. No gradient is used, whatever the source. Where the
    network draws random numbers, the current image is asked again beside each candidate. Else the margin of one lucky
    draw would never be beaten.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf or L2.
        queries: of each sample at the most, after those for the start.
        walk: how many of them one walk has.
        start: images in the ball to begin at, such as another attack's ``nearest``; the images themselves by default.

    Returns:
        The best image of each sample, the judge's verdict on it, and how many queries each took.

    Raises:
        SpikeproofError: queries or walk < 1, a start of another shape or outside the ball, or images outside [0, 1].

    Example:
        >>> from spikeproof.attacks import sa_pgd
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> first = sa_pgd(model, images, labels, Linf(0.1), steps=5)
        >>> second = local_search(model, images, labels, Linf(0.1), queries=20, start=first.nearest)
        >>> bool((second.correct <= first.correct).all())
        True

    Sources: the rule is Square's (Andriushchenko et al. 2020, ECCV, algorithm 2). Beginning at another attack's image,
    windows that stay small, ties, and beginning again are ours.
    """
    counts("The local search", queries=queries, walk=walk)
    begin = images if start is None else check_start(start, images, threat)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        search = _Search(pursuit, labels, threat, walk, max(1.0, queries / _LOOKS_OF))
        done, walks = 0, 1
        while done < queries and len(pursuit):
            length = min(walk, queries - done)
            search.walk(begin[pursuit.index], length, walks, done)
            done += length * walks
            # The later walks go side by side, as far as there is room: a forward of a few images costs almost as much
            # as one of many. They know nothing of each other, but a sample leaves all of them.
            room = len(images) // max(len(pursuit), 1)
            walks = max(1, min(room, (queries - done) // walk))
        return dataclasses.replace(pursuit.finish(), queries=search.spent)


class _Search:
    """The walks of all samples that are still chased.

    Attributes:
        spent: of each sample, how many queries.
    """

    def __init__(
        self, pursuit: Pursuit, labels: Int64[Tensor, " n"], threat: Threat, walk: int, patience: float
    ) -> None:
        self._pursuit, self._threat = pursuit, threat
        looks = ((_FIRST_LOOK, _LEFT_THEN), (walk, _LEFT_LATER))
        self._looks = [(round(patience * query), share) for query, share in looks]
        self.spent = torch.zeros_like(labels)
        self._left = torch.ones(len(labels), device=labels.device)  # of the start's margin, the least share seen

    def walk(self, start: Float[Tensor, "n c h w"], queries: int, walks: int, done: int) -> None:
        """Walks from the start, of each sample still chased; afterwards those that may still fall are chased."""
        pursuit, craft = self._pursuit, self._pursuit.craft
        logits = craft.logits(start)
        begun = pursuit.objective(margin_of)(logits)
        current, least = (each.repeat_interleave(walks, 0) for each in (start, begun))
        kept = pursuit.offer(start, logits)
        look, may = self._looks[0]
        for query in range(queries + 1):
            if kept is not None:
                begun, rows = begun[kept], _rows(kept, walks)
                current, least = current[rows], least[rows]
            if done == 0 and query == look:
                kept = _give_up(pursuit, least / begun > may)
                current, least, begun = current[kept], least[kept], begun[kept]
            if query == queries or len(pursuit) == 0:
                break
            self.spent[pursuit.index] += walks
            copies = pursuit.images.repeat_interleave(walks, 0)
            tried = _changed(current, copies, self._threat)
            logits = craft.logits(tried)
            margin = _margins(pursuit, logits, walks)
            if craft.random:
                least = _margins(pursuit, craft.logits(current), walks)
            taken = margin >= least
            least = torch.where(taken, margin, least)
            current = torch.where(taken[:, None, None, None], tried, current)
            best = margin.view(-1, walks).argmax(1) + walks * torch.arange(len(pursuit), device=margin.device)
            kept = pursuit.offer(tried[best], logits[best])
        if len(pursuit):
            lowest = least.view(-1, walks).amax(1) / begun  # margins of what is right are negative here
            self._left[pursuit.index] = torch.minimum(self._left[pursuit.index], lowest)
            passed = [share for query, share in self._looks if done + walks * queries >= query]
            if passed:
                _give_up(pursuit, self._left[pursuit.index] > passed[-1])


def _rows(kept: Int64[Tensor, " m"], walks: int) -> Int64[Tensor, " k"]:
    """Where the walks of these samples stand."""
    return (walks * kept[:, None] + torch.arange(walks, device=kept.device)).flatten()


def _margins(pursuit: Pursuit, logits: Float[Tensor, "k c"], walks: int) -> Float[Tensor, " k"]:
    """The margin of each walk's image."""
    return margin_of(pursuit.labels.repeat_interleave(walks, 0), known=True)(logits)


def _give_up(pursuit: Pursuit, hopeless: Bool[Tensor, " n"]) -> Int64[Tensor, " m"]:
    """Chase the others from now on; their places."""
    kept = (~hopeless).nonzero().flatten()
    pursuit.let_go(kept)
    return kept


def _changed(current: Tensor, originals: Tensor, threat: Threat) -> Float[Tensor, "n c h w"]:
    """Each image with one window of it changed."""
    window = _windows(current)
    if isinstance(threat, Linf):
        faces = threat.project(originals + threat.eps * _signs(current), originals)
        return torch.where(window, faces, current)
    share = torch.rand(len(current), 1, 1, 1, dtype=current.dtype, device=current.device)
    pushed = threat.steepest(window * _signs(current)) * (threat.eps * share)
    offset = current + pushed - originals
    return threat.project(originals + threat.eps * threat.steepest(offset), originals)


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


FORMS = (
    Form(
        name="LOCAL",
        attack=local_search,
        kind="black-box",
        number=9600,
        counted="queries",
        passes=lambda queries: min(queries, 300 + queries / 10) / 3,  # most samples are given up early
        continues=True,
        counts_queries=True,
    ),
)
