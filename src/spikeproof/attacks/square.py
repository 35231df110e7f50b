"""Square Attack: random search by queries alone, square by square (Andriushchenko et al. 2020)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts, real
from spikeproof.errors import SpikeproofError
from spikeproof.sending import sent
from spikeproof.threat import L2, Linf, Threat

# After how many queries the share of the image that a square covers is halved: the paper's, for 10000 queries.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@attack("Square")
def square(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    queries: int = 5000,
    p_init: float = 0.8,
) -> Attacked:
    """Change a random square of the perturbation, and keep the change where it raises max_{j != y} z_j - z_y.

    Linf: vertical stripes of +-eps at first, then squares of +-2 eps per channel, projected. L2: bumps on a grid at
    first, then the length of one window is moved to another. A square covers a share p of the image, p_init at first,
    halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 queries. No gradient is used, whatever the source.

    Follows the authors' code as AutoAttack runs it (pyautoattack 0.2.0: the margin, and p's schedule not rescaled to
    fewer queries), with its quirks: a square never touches the last row or column unless it covers them all, and one
    place and one Linf sign serve the whole batch. Deviations: a sample leaves once the judge confirms the mistake (a
    margin of exactly zero is none), and L2 windows that hang over the border of the start are cut (theirs fails).

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf or L2.
        queries: of each sample, after the one for the start.
        p_init: the share at first.

    Raises:
        SpikeproofError: queries < 1, p_init outside (0, 1], images outside [0, 1], or for L2 smaller than 5x5.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> square(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), queries=5).correct.shape
        torch.Size([2])
    """
    counts("Square", queries=queries)
    real(p_init, "Square", "p_init", 0, 1, above=True)
    if isinstance(threat, L2) and min(images.shape[2:]) < 5:
        raise SpikeproofError(f"Square in L2 needs images of 5x5 or more, got {tuple(images.shape[2:])}.")
    search = _Squares(threat) if isinstance(threat, Linf) else _Windows(threat)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        if len(pursuit):
            _search(pursuit, search, queries, p_init)
        return pursuit.finish()


def _search(pursuit: Pursuit, search: _Squares | _Windows, queries: int, p_init: float) -> None:
    """Every candidate is offered; a sample goes on from its best by the margin."""
    current = candidates = search.start(pursuit.images)
    best = torch.full((len(pursuit),), -torch.inf, device=current.device)
    for query in range(queries + 1):
        logits = pursuit.craft.logits(candidates)
        margin = pursuit.objective(margin_of)(logits)
        better = margin > best
        best = torch.where(better, margin, best)
        current = torch.where(better[:, None, None, None], candidates, current)
        kept = pursuit.offer(candidates, logits)
        if kept is not None:
            current, best = current[kept], best[kept]
        if query == queries or len(pursuit) == 0:
            return
        share = p_init / 2 ** sum(query > after for after in _HALVINGS)
        candidates = search.propose(current, pursuit.images, share)


class _Squares:
    """Linf."""

    def __init__(self, threat: Linf) -> None:
        self._threat = threat

    def start(self, originals: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Vertical stripes, one pixel wide."""
        return self._threat.project(originals + self._threat.eps * _signs(originals[:, :, :1]), originals)

    def propose(self, current: Tensor, originals: Tensor, share: float) -> Tensor:
        """A square of one sign per channel."""
        height, width = current.shape[2:]
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        top, left = _random_offset(height - side), _random_offset(width - side)
        change = torch.zeros_like(current[0])
        change[:, top : top + side, left : left + side] = 2 * self._threat.eps * _signs(current[0, :, :1, :1])
        return self._threat.project(current + change, originals)


class _Windows:
    """L2."""

    def __init__(self, threat: L2) -> None:
        self._threat = threat

    def start(self, originals: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Patterns on a grid of fifths."""
        height, width = originals.shape[2:]
        side = height // 5
        margin = (height - 5 * side) // 2
        change = torch.zeros_like(originals)
        for top in range(margin, margin + height // side * side, side):
            for left in range(margin, margin + width // side * side, side):
                tile = _pattern(side, originals) * _signs(originals[:, :, :1, :1])
                room = change[:, :, top : top + side, left : left + side]
                room += tile[:, :, : room.shape[2], : room.shape[3]]
        return self._on_the_border(change, originals)

    def propose(self, current: Tensor, originals: Tensor, share: float) -> Tensor:
        """Empty one window and fill another: with its own pattern, a new one, and the length that both had."""
        channels, height, width = current.shape[1:]
        side = min(max(round(math.sqrt(share * height * width)), 3) // 2 * 2 + 1, height, width)
        filled, emptied = (self._window(side, height, width) for _ in range(2))
        change = current - originals
        either = torch.zeros_like(change, dtype=torch.bool)
        either[filled] = either[emptied] = True
        # What the perturbation is short of the radius is shared among the channels.
        short = (self._threat.eps**2 - (change**2).sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
        length = ((change * either) ** 2).sum((2, 3), keepdim=True).add(short).sqrt()
        fresh = _unit(change[filled]) + _pattern(side, current) * _signs(current[:, :, :1, :1])
        change[emptied] = 0
        change[filled] = _unit(fresh) * length
        return self._on_the_border(change, originals)

    def _on_the_border(self, change: Tensor, originals: Tensor) -> Tensor:
        return self._threat.project(originals + self._threat.eps * self._threat.steepest(change), originals)

    @staticmethod
    def _window(side: int, height: int, width: int) -> tuple[slice, slice, slice, slice]:
        top, left = _random_offset(height - side), _random_offset(width - side)
        return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _random_offset(room: int) -> int:
    """A whole number below ``room``; 0 if there is none. Drawn on the CPU, where it is used."""
    return int(room * torch.rand(1))


def _signs(like: Tensor) -> Tensor:
    return (2 * torch.rand_like(like) - 1).sign()


def _pattern(side: int, like: Tensor) -> Float[Tensor, "s s"]:
    """A bump above an inverted bump, of length 1, turned on its side in one draw of two."""
    halves = _bump(side // 2, side), -_bump(side - side // 2, side)
    both = sent(torch.cat(halves).to(like.dtype), like.device)
    both = both / both.norm()
    return both.T if torch.rand(1) > 0.5 else both


def _bump(height: int, width: int) -> Float[Tensor, "h w"]:
    """1/(k+1)^2 summed over the rings k that enclose a pixel: highest at the centre; of length 1."""
    rings = torch.arange(max(height, width) // 2 + 1)
    enclosing = (1 / (rings + 1.0) ** 2).flip(0).cumsum(0).flip(0)
    down, across = ((torch.arange(extent) - extent // 2).abs() for extent in (height, width))
    bump = enclosing[torch.maximum(down[:, None], across)]
    return bump / bump.norm()


def _unit(windows: Float[Tensor, "n c s t"]) -> Float[Tensor, "n c s t"]:
    """Each channel's window over its length."""
    return windows / (1e-12 + windows.pow(2).sum((2, 3), keepdim=True).sqrt())


FORMS = (
    Form(
        name="SQUARE",
        attack=square,
        kind="black-box",
        number=5000,
        counted="queries",
        passes=lambda queries: queries / 3,
    ),
)
