"""The pursuit: chase the samples that are not broken yet, step by step, and keep for each the best image found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikeproof.attacks.craft import Attacked, Craft, errs
from spikeproof.attacks.objective import Objective, cross_entropy_of, margin_of


class Pursuit:
    """Which samples are still chased, and the best image of each.

    A sample leaves once the judge confirms that it is broken: that the model errs or, with targets, says the target.
    Crafting may be in bfloat16, so its own logits do not decide. Of a random network fresh draws confirm it; a sample
    that only a lucky draw broke is chased further. One never broken ends with the image of highest cross-entropy
    (lowest to the target), so no attack returns a worse image than it found. The image of least margin is kept too: a
    further attack goes on from it.

    On a GPU each ``offer`` waits once, to learn which samples are suspected; it waits again only where some are.

    Args:
        craft: the network under attack.
        images, labels, targets: the whole batch. Samples that are broken from the start are not chased.

    Attributes:
        images, labels, targets: of the samples still chased; these shrink.
        index: which samples of the batch those are.

    Raises:
        SpikeproofError: labels or targets that are no class of the model, or logits that are not finite.
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
        """The maker's objective for the samples still chased; made anew when some have left.

        Args:
            maker: makes an objective of (labels, targets).
        """
        if maker not in self._objectives:
            self._objectives[maker] = maker(self.labels, self.targets)
        return self._objectives[maker]

    def offer(self, candidates: Float[Tensor, " n *chw"], logits: Float[Tensor, "n k"]) -> Int64[Tensor, " m"] | None:
        """Note a candidate of each sample still chased, and let go the samples that are broken.

        Args:
            candidates: an image of each sample still chased, in the ball.
            logits: theirs, at crafting precision. The judge is asked where they err.

        Returns:
            None while no sample leaves. Else the places, among those chased so far, of the samples that stay;
            the caller must cut its own tensors to them.
        """
        loss = self.objective()(logits)
        suspected = errs(logits, self.labels, self.targets).nonzero().flatten()
        broken = torch.zeros_like(self.labels, dtype=torch.bool)
        if len(suspected):
            targets = None if self.targets is None else self.targets[suspected]
            broken[suspected] = self.craft.breaks(candidates[suspected], self.labels[suspected], targets)
        best, best_loss = self._best[self.index], self._best_loss[self.index]
        better = broken | (loss > best_loss)
        self._best[self.index] = either(better, candidates, best)
        self._best_loss[self.index] = torch.where(better, loss, best_loss)
        margin, nearest, least = self.objective(margin_of)(logits), self._nearest[self.index], self._least[self.index]
        nearer = broken | (margin > least)
        self._nearest[self.index] = either(nearer, candidates, nearest)
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
        """Chase only some samples from now on; the others count as not broken.

        Args:
            left: places of the samples that stay, among those chased so far.
        """
        self._chase(self.index[left])
        self.craft.keep(left)

    def finish(self, candidates: Float[Tensor, " n *chw"] | None = None) -> Attacked:
        """The best image of every sample, and the judge's verdict on it.

        Args:
            candidates: last images of the samples still chased, which were not offered yet; None if there are none.
        """
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


def either(
    which: Bool[Tensor, " n"], one: Float[Tensor, " n *chw"], other: Float[Tensor, " n *chw"]
) -> Float[Tensor, " n *chw"]:
    """Of each sample the one image or the other.

    Args:
        which: where it is the one.
        one, other: an image of each sample.
    """
    return torch.where(which.view(-1, *(1,) * (one.ndim - 1)), one, other)


@runtime_checkable
class Rule(Protocol):
    """How an iterated attack moves from one image to the next. A rule may remember something of each sample."""

    def move(
        self,
        current: Float[Tensor, " n *chw"],
        original: Float[Tensor, " n *chw"],
        gradient: Float[Tensor, " n *chw"],
        step: int,
    ) -> Float[Tensor, " n *chw"]:
        """The next image of each sample, in the ball.

        Args:
            current: where the samples are.
            original: their clean images.
            gradient: of the objective, at ``current``; the rule goes up it.
            step: counts from 0.
        """

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Forget what is remembered of all samples but some.

        Args:
            kept: places of those that stay, among the samples so far.
        """


def chase(
    pursuit: Pursuit,
    start: Float[Tensor, " n *chw"],
    rule: Rule,
    *,
    steps: int,
    maker: Callable[..., Objective] = cross_entropy_of,
) -> Float[Tensor, " m *chw"]:
    """Move the chased samples for some steps; each image is offered before the next move, and broken samples leave.

    Args:
        pursuit: the samples, and the network under attack.
        start: the first images of those still chased.
        rule: how to move.
        steps: how often; a step costs one gradient (times E draws).
        maker: makes the objective of (labels, targets).

    Returns:
        The last images of the m samples still chased. They were not offered yet.
    """
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
    images: Float[Tensor, " n *chw"],
    start: Float[Tensor, " n *chw"],
    rule: Rule,
    *,
    steps: int,
    objective: Objective,
) -> Float[Tensor, " n *chw"]:
    """Move every sample for some steps, broken or not: the papers' protocol.

    Args:
        craft: the network under attack.
        images: the originals.
        start: the first images.
        rule: how to move.
        steps: how often; a step costs one gradient (times E draws).
        objective: what is climbed.

    Returns:
        The last images, not judged.
    """
    current = start
    for step in range(steps):
        gradient, _ = craft.gradient(current, objective)
        current = rule.move(current, images, gradient, step)
    return current
