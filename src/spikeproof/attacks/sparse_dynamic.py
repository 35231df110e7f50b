"""SDA, the sparse dynamic attack on binary frames (Lu et al. 2025, CVPR): it adds and removes events, few of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting, errs
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Events

_AT_ONCE = 256  # frames with one flip more, in one forward


@attack("SDA", norms=("events",))
def sda(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Events,
    how: Crafting | None = None,
    *,
    steps: int = 500,
    first: int = 10,
) -> Attacked:
    """Events are added and removed until the network errs; then as many as can be are put back.

    Generation, at most ``steps`` times, n = 1, 2, ..: of the values that are not flipped take the k = ``first`` n with
    the largest gradient that favours a flip (g > 0 at 0, g < 0 at 1), and test each alone, by a forward::

        the k largest |g_i| where (1 - 2 x_i) g_i > 0;    keep i where m(x with i flipped) >= m(x)

    where m(x) = max_{j != y} z_j - z_y. Where fewer than k are favoured, others are drawn. Of what is kept the
    strongest 1, 2, 4, .. or all are flipped together, whichever raises m most. Reduction, once the network errs: flips
    are put back, those of the least difference first, and a binary search finds how many.

    ``Events.distance(found.images, images)`` says how many flips each sample took (its L0).

    Args:
        model, labels: as in :func:`spikeproof.attacks.pgd`.
        images: binary frames [N,T,C,H,W], or binary images [N,C,H,W]: 0 and 1 alone.
        threat: how many events may be added or removed.
        how: the paper's gradient is PDSG's, ``Crafting(source=PDSG())``.
        steps: N.
        first: k of the first step.

    Returns:
        Binary frames within the threat. A sample that only more flips break counts as not broken.

    Raises:
        SpikeproofError: steps or first < 1, another threat, or values other than 0 and 1.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=2)
        >>> images = (torch.rand(2, 2, 8, 8) < 0.3).float()
        >>> found = sda(model, images, torch.tensor([3, 7]), Events(8), steps=2)
        >>> bool((Events(8).distance(found.images, images) <= 8).all()), found.images.unique().tolist()
        (True, [0.0, 1.0])

    Source: Lu et al. 2025 (CVPR). Deviations: a budget; where it is spent, or no flip helps, the weaker half is put
    back and the search goes on; their code flips all that is kept at once, which on small networks undoes what each
    flip gains alone; all samples of a batch go side by side.
    """
    counts("SDA", steps=steps, first=first)
    odd = ~((images == 0) | (images == 1)).flatten(1).all(1)
    if odd.any():
        raise SpikeproofError(
            f"SDA flips events, so it takes binary frames, of 0 and 1 alone, and sample {int(odd.nonzero()[0])} holds "
            "other values; give binary frames, or take an attack on all values (PGD, SPARSE-RS)."
        )
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        if len(pursuit) and threat.eps:
            _Search(pursuit, int(threat.eps)).run(steps, first)
        return pursuit.finish()


class _Search:
    """The flips of all samples that are still chased, [m, D]: which are made, and what each did to the margin."""

    def __init__(self, pursuit: Pursuit, budget: int) -> None:
        self._pursuit = pursuit
        self._flipped = torch.zeros_like(pursuit.images.flatten(1), dtype=torch.bool)
        self._effect = torch.zeros_like(pursuit.images.flatten(1))
        self._budget = min(budget, self._flipped.shape[1])

    def run(self, steps: int, first: int) -> None:
        pursuit = self._pursuit
        for step in range(steps):
            gradient, logits = pursuit.craft.gradient(self._with(self._flipped), pursuit.objective(margin_of))
            helped = self._generate(gradient.flatten(1), pursuit.objective(margin_of)(logits), first * (step + 1))
            flips = self._reduced(self._flipped)
            candidates = self._with(flips)
            kept = pursuit.offer(candidates, pursuit.craft.logits(candidates))
            if kept is not None:
                self._flipped, self._effect, helped = self._flipped[kept], self._effect[kept], helped[kept]
            if len(pursuit) == 0:
                return
            self._go_back(~helped | (self._flipped.sum(1) >= self._budget))

    def _generate(self, gradient: Float[Tensor, "m d"], margin: Float[Tensor, " m"], number: int) -> Bool[Tensor, " m"]:
        """Flip of the values whose gradients favour it most the strongest ones; whether there were any."""
        now = self._with(self._flipped).flatten(1)
        favoured = (1 - 2 * now) * gradient > 0
        drawn = torch.rand_like(now) - 1  # below every gradient
        scores = torch.where(favoured, gradient.abs(), drawn).masked_fill(self._flipped, -torch.inf)
        best = scores.topk(min(number, scores.shape[1]), 1)
        gains = self._gains(now, best.indices, margin).masked_fill(best.values == -torch.inf, -torch.inf)
        gains, order = gains.sort(1, descending=True)
        places = best.indices.gather(1, order)
        room = torch.minimum((gains >= 0).sum(1), self._budget - self._flipped.sum(1))
        most = torch.full_like(margin, -torch.inf)
        chosen = self._flipped
        for size in _powers_of_two(places.shape[1]):
            taken = torch.arange(places.shape[1], device=places.device) < room.clamp_max(size)[:, None]
            tried = self._flipped | torch.zeros_like(self._flipped).scatter_(1, places, taken)
            of_tried = self._margin(tried)
            chosen = torch.where((of_tried > most)[:, None], tried, chosen)
            most = torch.maximum(of_tried, most)
        new = chosen & ~self._flipped
        effect = torch.zeros_like(self._effect).scatter_(1, places, gains.nan_to_num(neginf=0.0))
        self._effect = torch.where(new, effect, self._effect)
        self._flipped = chosen
        return new.any(1)

    def _go_back(self, where: Bool[Tensor, " m"]) -> None:
        """Put back the weaker half of the flips of these samples."""
        number = self._flipped.sum(1, keepdim=True)
        stronger = self._flipped & (self._rank(self._flipped) >= number - number // 2)
        self._flipped = torch.where(where[:, None], stronger, self._flipped)

    def _gains(
        self, now: Float[Tensor, "m d"], places: Int64[Tensor, "m k"], margin: Float[Tensor, " m"]
    ) -> Float[Tensor, "m k"]:
        """By how much the margin grows with each of these flips alone."""
        pursuit, (samples, number) = self._pursuit, places.shape
        rows = torch.arange(samples, device=now.device).repeat_interleave(number)
        gains = []
        for row, place in zip(rows.split(_AT_ONCE), places.flatten().split(_AT_ONCE), strict=True):
            tried = now[row]
            tried.scatter_(1, place[:, None], 1 - tried.gather(1, place[:, None]))
            logits = pursuit.craft.logits(tried.view(-1, *pursuit.images.shape[1:]))
            gains.append(margin_of(pursuit.labels[row], known=True)(logits) - margin[row])
        return torch.cat(gains).view(samples, number).to(now.dtype)

    def _reduced(self, flips: Bool[Tensor, "m d"]) -> Bool[Tensor, "m d"]:
        """Where the network errs by these flips, as few of them as a binary search leaves; elsewhere all."""
        broken = self._errs(flips)
        if not bool(broken.any()):
            return flips
        rank = self._rank(flips)
        least = torch.zeros_like(rank[:, :1])  # so many of the weakest can be put back
        most = torch.where(broken[:, None], flips.sum(1, keepdim=True), least)
        for _ in range(math.ceil(math.log2(flips.shape[1] + 1))):
            middle = (least + most + 1) // 2
            holds = self._errs(flips & (rank >= middle))[:, None]
            most = torch.where(holds, most, torch.maximum(middle - 1, least))
            least = torch.where(holds & broken[:, None], middle, least)
        return flips & (rank >= least)

    def _rank(self, flips: Bool[Tensor, "m d"]) -> Int64[Tensor, "m d"]:
        """Each flip's place among these, the weakest first."""
        order = self._effect.masked_fill(~flips, torch.inf).sort(dim=1, stable=True).indices
        places = torch.arange(flips.shape[1], device=flips.device).expand_as(order)
        return torch.zeros_like(order).scatter_(1, order, places)

    def _margin(self, flips: Bool[Tensor, "m d"]) -> Float[Tensor, " m"]:
        return self._pursuit.objective(margin_of)(self._pursuit.craft.logits(self._with(flips)))

    def _errs(self, flips: Bool[Tensor, "m d"]) -> Bool[Tensor, " m"]:
        pursuit = self._pursuit
        return errs(pursuit.craft.judge(self._with(flips)).float(), pursuit.labels)

    def _with(self, flips: Bool[Tensor, "m d"]) -> Float[Tensor, "m c h w"]:
        """The originals with these flips."""
        originals = self._pursuit.images
        return torch.where(flips.view_as(originals), 1 - originals, originals)


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, .. below ``most``, and that."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def _passes(_: int) -> float:
    """About so many for a sample: 20 gradients, 10 + 20 + .. + 200 forwards, and those of the reduction."""
    return 20 + (2100 + 20 * 12) / 3


FORMS = (
    # Its number is how many events. It takes binary frames, which no audit of images has.
    Form(
        name="SDA",
        attack=sda,
        kind="fixed",
        number=20,
        settings={"steps": 20},
        norm="events",
        ball=Events,
        most=1_000_000,
        passes=_passes,
        apart="it takes binary frames alone",
    ),
)
