"""The pursuit: chase the samples that are not broken yet, step by step, and keep for each the best image found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikeproof.attacks.craft import Attacked, Craft, errs
from spikeproof.attacks.objective import Objective, cross_entropy_of, margin_of


class Pursuit:
    """Which samples are still chased, and the best image of each.

    A sample leaves once the judge confirms that it is broken (crafting may be bfloat16, and its word does not count):
    that the model errs, or with targets that it says the target. Of a random network fresh draws confirm it; a sample
    that had luck with its draws is chased further. One never broken ends with the image of highest
    cross-entropy (lowest to the target), so no attack returns worse than it found. Beside it the image of least margin
    is kept, from which a further attack goes on.

    On a GPU each ``offer`` waits once, to hear which samples are suspected; more only where some are.

    Attributes:
        images, labels, targets: of the samples still chased; these shrink.
        index: which samples of the batch those are.
    """

    def __init__(self, craft: Craft, images: Tensor, labels: Tensor, targets: Tensor | None = None) -> None:
        self.craft = craft
        self._labels, self._targets = labels, targets
        logits = craft.judge(images).float()
        self._clean, self._clean_loss = images, cross_entropy_of(labels, targets)(logits)
        self._best, self._best_loss = images.clone(), self._clean_loss.clone()
        self._nearest, self._least = images.clone(), margin_of(labels, targets)(logits)
        self._unbroken = ~craft.confirmed(errs(logits, labels, targets), images, labels, targets)
        self._chase(self._unbroken.nonzero().flatten())

    def __len__(self) -> int:
        """How many samples are still chased."""
        return len(self.index)

    def objective(self, maker: Callable[..., Objective] = cross_entropy_of) -> Objective:
        """The maker's objective for the samples still chased; made anew when some have left."""
        if maker not in self._objectives:
            self._objectives[maker] = maker(self.labels, self.targets)
        return self._objectives[maker]

    def offer(self, candidates: Float[Tensor, "n c h w"], logits: Float[Tensor, "n k"]) -> Int64[Tensor, " m"] | None:
        """Note the candidates of the samples still chased; the places among them to keep when some leave, else None."""
        loss = self.objective()(logits)
        suspected = errs(logits, self.labels, self.targets).nonzero().flatten()
        broken = torch.zeros_like(self.labels, dtype=torch.bool)
        if len(suspected):
            targets = None if self.targets is None else self.targets[suspected]
            broken[suspected] = self.craft.breaks(candidates[suspected], self.labels[suspected], targets)
        best, best_loss = self._best[self.index], self._best_loss[self.index]
        better = broken | (loss > best_loss)
        self._best[self.index] = torch.where(better[:, None, None, None], candidates, best)
        self._best_loss[self.index] = torch.where(better, loss, best_loss)
        margin, nearest, least = self.objective(margin_of)(logits), self._nearest[self.index], self._least[self.index]
        nearer = broken | (margin > least)
        self._nearest[self.index] = torch.where(nearer[:, None, None, None], candidates, nearest)
        self._least[self.index] = torch.where(nearer, margin, least)
        if not len(suspected):
            return None
        left = (~broken).nonzero().flatten()
        if len(left) == len(broken):
            return None
        self._unbroken[self.index] = ~broken
        self._chase(self.index[left])
        self.craft.keep(left)
        return left

    def let_go(self, left: Int64[Tensor, " m"]) -> None:
        """Chase only the samples at these places from now on; the others stay unbroken."""
        self._chase(self.index[left])
        self.craft.keep(left)

    def finish(self, candidates: Float[Tensor, "n c h w"] | None = None) -> Attacked:
        """Look at the last candidates too, if any, let the judge see every survivor's best image, and close."""
        if len(self) and candidates is not None:
            self.offer(candidates, self.craft.judge(candidates).float())
        self._chase(self._unbroken.nonzero().flatten())  # those that were let go, too
        if len(self):
            # bfloat16 logits may have called right what float32 does not.
            logits = self.craft.judge(self._best[self.index]).float()
            broken = errs(logits, self.labels, self.targets)  # of a random network a claim, as fresh draws follow
            self._unbroken[self.index] = ~broken
            weaker = (self.objective()(logits) < self._clean_loss[self.index]) & ~broken
            self._best[self.index[weaker]] = self._clean[self.index[weaker]]
        if self._targets is None:
            return Attacked(self._best, self._unbroken, nearest=self._nearest)
        correct = self.craft.judge(self._best).argmax(1) == self._labels
        return Attacked(self._best, correct, ~self._unbroken, self._nearest)

    def _chase(self, index: Tensor) -> None:
        self.index = index
        self.images, self.labels = self._clean[index], self._labels[index]
        self.targets = None if self._targets is None else self._targets[index]
        self._objectives: dict[Callable[..., Objective], Objective] = {}


@runtime_checkable
class Rule(Protocol):
    """How an iterated attack moves from one image to the next."""

    def move(
        self,
        current: Float[Tensor, "n c h w"],
        original: Float[Tensor, "n c h w"],
        gradient: Float[Tensor, "n c h w"],
        step: int,
    ) -> Float[Tensor, "n c h w"]: ...

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Forget what is remembered of all samples but those at these places."""


def chase(
    pursuit: Pursuit,
    start: Float[Tensor, "n c h w"],
    rule: Rule,
    *,
    steps: int,
    maker: Callable[..., Objective] = cross_entropy_of,
) -> Float[Tensor, "m c h w"]:
    """Move the chased samples from ``start`` for so many steps; the last candidates of those that are left, unseen."""
    current = start
    for step in range(steps):
        if len(pursuit) == 0:
            break
        gradient, logits = pursuit.craft.gradient(current, pursuit.objective(maker))
        kept = pursuit.offer(current, logits)
        if kept is not None:
            current, gradient = current[kept], gradient[kept]
            rule.keep(kept)
        current = rule.move(current, pursuit.images, gradient, step)
    return current


def climb(
    craft: Craft,
    images: Float[Tensor, "n c h w"],
    start: Float[Tensor, "n c h w"],
    rule: Rule,
    *,
    steps: int,
    objective: Objective,
) -> Float[Tensor, "n c h w"]:
    """The bare climb of every sample, broken or not; its last iterate, unjudged: the papers' protocol."""
    current = start
    for step in range(steps):
        gradient, _ = craft.gradient(current, objective)
        current = rule.move(current, images, gradient, step)
    return current
