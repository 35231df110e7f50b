"""The verdict on images of a network that draws random numbers: fresh draws, until their average is clear."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikeproof.attacks.judge import checked

FEWEST = 100  # draws behind every break, at the least
PATIENCE = 4  # times as many before a verdict is left undecided
# How wide an interval must be that is looked at up to five times and misses in 5 % of cases in all. Pocock's 2.413 is
# for looks at equal distances; of 400,000 simulated walks with looks that double it misses 6 %.
_WIDTH = 2.48


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """What fresh draws say of the claim that images break a network.

    Attributes:
        broken: the claim holds: the whole interval of the averaged margin lies on its side.
        undecided: neither the claim nor its contrary holds; such an image counts as not broken.
    """

    broken: Bool[Tensor, " n"]
    undecided: Bool[Tensor, " n"]


@torch.no_grad()
def confirm(
    forward: Callable[[Tensor], Tensor],
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    targets: Int64[Tensor, " n"] | None = None,
    *,
    least: int = FEWEST,
    patient: bool = True,
) -> Confirmation:
    """Whether the mean of a random network's logits errs, by draws that had no part in the choice of the images::

        d_i = z_j - z_y in draw i,  j the wrong class of largest mean logit;    mean(d) +- 2.48 s(d) / sqrt(R)

    An attack that tries hundreds of images finds one that broke by lucky draws. So each image is asked again, and
    the interval is looked at after R = least / 4, least / 2, least, 2 least and 4 least draws. A break counts once
    there are ``least`` and the whole interval lies above zero. An image is right, from the first look on, where the
    intervals of all wrong classes lie below. With a target t, d = z_j - z_t, and all intervals must lie below zero
    for a break. 2.48 in place of 1.96 makes it 95 % over all five looks together.

    Each draw is a forward of its own: some networks draw once for a whole batch.

    Args:
        forward: one forward of images, with fresh random numbers, to logits [n, K].
        images: of the claim; [n,c,h,w] in [0, 1].
        labels: y.
        targets: t; the claim is then that the network says t.
        least: draws behind a break; 4 or more.
        patient: False stops where a look's mean speaks against the claim, and after ``least`` draws: for an attack
            that has other images to try.

    Raises:
        SpikeproofError: logits that are not finite.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> noisy = lambda images: logits[: len(images)] + 0.1 * torch.randn(len(images), 2)
        >>> confirm(noisy, torch.rand(1, 1, 2, 2), torch.tensor([0])).broken
        tensor([True])

    Source: the looks are a group-sequential test (Pocock 1977, Biometrika 64). That a verdict on a random network needs
    many draws is Athalye et al.'s (2018); they fix their number.
    """
    classes = labels if targets is None else targets
    broken, undecided = torch.zeros_like(labels, dtype=torch.bool), torch.ones_like(labels, dtype=torch.bool)
    left, sums, done = torch.arange(len(images), device=images.device), _Sums(), 0
    looks = (-(-least // 4), -(-least // 2), least, 2 * least, PATIENCE * least)
    for upto in looks if patient else looks[:3]:
        if len(left) == 0:
            break
        batch, own = images[left], classes[left, None]
        for _ in range(upto - done):
            logits = forward(batch).double()
            sums.add(logits - logits.gather(1, own))
        done = upto
        top, lowest, highest = sums.margins(own)
        says_other, says_class = lowest > 0, highest < 0
        holds, refuted = (says_other, says_class) if targets is None else (says_class, says_other)
        if done < least:
            holds = torch.zeros_like(holds)
        if not patient:
            refuted = refuted | (top <= 0 if targets is None else top >= 0)
        broken[left[holds]] = True
        undecided[left[holds | refuted]] = False
        kept = (~(holds | refuted)).nonzero().flatten()
        left = left[kept]
        sums.keep(kept)
    return Confirmation(broken, undecided)


class _Sums:
    """Sums over the draws of z - z_y, and of its squares: [n, K]."""

    def __init__(self) -> None:
        self._draws, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, margins: Float[Tensor, "n k"]) -> None:
        self._draws += 1
        self._sum, self._squares = self._sum + margins, self._squares + margins.square()

    def margins(self, own: Int64[Tensor, "n 1"]) -> tuple[Tensor, Tensor, Tensor]:
        """The largest mean of another class, the lower bound of that mean, the highest upper bound of any."""
        mean = checked(self._sum / self._draws)
        variance = (self._squares / self._draws - mean.square()).clamp_min(0)
        half = _WIDTH * (variance / max(self._draws - 1, 1)).sqrt()
        others = mean.scatter(1, own, -torch.inf)
        top, at = others.max(1, keepdim=True)
        return top[:, 0], (top - half.gather(1, at))[:, 0], (others + half).amax(1)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        self._sum, self._squares = self._sum[kept], self._squares[kept]
