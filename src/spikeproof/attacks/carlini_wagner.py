"""Carlini and Wagner's L2 attack (2017), and the closest adversarial image that attacks of least norm keep."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Craft, Crafting, crafting, errs
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import Objective, check_classes, margin_of
from spikeproof.checked import counts, real
from spikeproof.threat import L2

# Where pixels of 0 and 1 lie: tanh(log(3) / 2) = 1/2. If the box took all of tanh's range, they would lie at infinity.
_EDGE = math.log(3)


@attack("CW", norms=("l2",))
def cw_l2(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: L2,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    searches: int = 9,
    learning_rate: float = 0.01,
    initial_c: float = 1e-3,
    confidence: float = 0.0,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """The closest mistake, by Adam over w and a binary search of each sample's own c::

        minimise ||x' - x||^2 + c max(z_y - max_{j != y} z_j, -kappa),   x' = 1/2 + tanh(w/2),   |w| <= log 3

    (max_{j != t} z_j - z_t with a target t). Every iterate counts, once the judge confirms it in float32; the closest
    is kept. On purpose it differs from the original:

    - The box takes the middle half of tanh's range and w is clipped to it. A mid-grey pixel moves as in the original,
      (1 + tanh w) / 2, and one of exactly 0 or 1 three quarters as fast. In the original, and in torchattacks (so in
      FEEL's and RGA's CW), such a pixel lies at infinity and never moves.
    - There is no early abort: it would make a sample depend on its batch.
    - Where the model's own logits already satisfy the hinge it is silent, also when the gradient is another network's.
    - Ten searches or more do not repeat the last one at the largest c.

    FEEL's and MPD-SGR's CW is ``steps=10, searches=1, initial_c=0.5`` with a radius beyond reach, such as ``L2(1e6)``.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: an image further than its radius does not count, and the clean one comes back.
        steps: Adam's, in each search.
        searches: values of c tried: ten times the last until one succeeds, then halfway between failure and success.
        learning_rate: Adam's, of w.
        initial_c: the first c; the only one with ``searches=1``.
        confidence: kappa, how far the wrong logit (the target's) must lead in what is crafted.
        targets: classes to be reached instead of any mistake.

    Raises:
        SpikeproofError: steps or searches < 1, a learning rate or c that is not positive, a negative confidence, or
            images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> attacked = cw_l2(model, images, labels, L2(2.0), steps=5, searches=2)
        >>> bool((L2(2.0).distance(attacked.images, images) <= 2).all())
        True
    """
    counts("CW", steps=steps, searches=searches)
    for name, value in (("learning rate", learning_rate), ("initial_c", initial_c)):
        real(value, "CW", name, 0, above=True)
    real(confidence, "CW", "confidence", 0)
    with crafting(model, how or Crafting()) as craft:
        closest = Closest(craft, images, labels, targets, confidence=confidence)
        weight = _Weight(closest.images.new_full((len(closest),), initial_c))
        for _ in range(searches if len(closest) else 0):
            weight.learn(_search(craft, closest, weight.value, steps, learning_rate))
        return closest.finish(threat)


def _search(craft: Craft, closest: Closest, c: Tensor, steps: int, learning_rate: float) -> Tensor:
    """One descent from the clean images at fixed c; which samples it broke."""
    w = 2 * torch.atanh(closest.images - 0.5)
    adam = torch.optim.Adam([w], lr=learning_rate)
    broke = torch.zeros_like(c, dtype=torch.bool)
    for _ in range(steps):
        current = _image_at(w)
        towards, logits = craft.gradient(current, closest.lead)
        broke |= closest.offer(current, logits)
        # The hinge by the model's own logits. A tie is not a mistake yet, so the hinge still acts there.
        pull = c * (closest.lead(logits) <= closest.confidence)
        by_image = 2 * (current - closest.images) - pull[:, None, None, None] * towards
        w.grad = by_image * (1 - (w / 2).tanh().square()) / 2
        adam.step()
        w.clamp_(-_EDGE, _EDGE)
    current = _image_at(w)
    return broke | closest.offer(current, craft.judge(current).float())


def _image_at(w: Tensor) -> Tensor:
    # The clamp only mends rounding.
    return (0.5 + (w / 2).tanh()).clamp(0, 1)


class _Weight:
    """Each sample's c, searched for the least that succeeds."""

    def __init__(self, start: Tensor) -> None:
        self.value, self._failed, self._succeeded = start, torch.zeros_like(start), torch.full_like(start, torch.inf)

    def learn(self, succeeded: Tensor) -> None:
        self._succeeded = torch.where(succeeded, self.value, self._succeeded)
        self._failed = torch.where(succeeded, self._failed, self.value)
        between = (self._failed + self._succeeded) / 2
        self.value = torch.where(self._succeeded.isfinite(), between, 10 * self.value)


def lead_of(labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None) -> Objective:
    """How far the wrong class leads: max_{j != y} z_j - z_y; with a target t, z_t - max_{j != t} z_j.

    Unlike :func:`spikeproof.attacks.margin_of` it is positive with targets only where the model says the target.

    Args:
        labels: y; not looked at where there are targets.
        targets: t, or None.
    """
    if targets is None:
        return margin_of(labels)
    behind = margin_of(targets)
    return lambda logits: -behind(logits)


class Closest:
    """For each sample the closest adversarial image seen (in L2), confirmed by the judge.

    Args:
        craft: the network under attack.
        images, labels, targets: the whole batch.
        confidence: how far the wrong class must lead before an image counts, in logits.

    Attributes:
        images, labels, targets: of the samples that the model was right about (or that were not at their target yet).
        lead: the objective that says how far the wrong class leads.
        confidence: as given.

    Raises:
        SpikeproofError: labels or targets that are no class of the model.
    """

    def __init__(
        self, craft: Craft, images: Tensor, labels: Tensor, targets: Tensor | None = None, *, confidence: float = 0.0
    ) -> None:
        self._craft, self._clean, self._labels, self._targets = craft, images, labels, targets
        self.confidence = confidence
        logits = craft.judge(images).float()
        check_classes(labels, logits)
        if targets is not None:
            check_classes(targets, logits)
        self._broken = craft.confirmed(errs(logits, labels, targets), images, labels, targets)
        self._index = (~self._broken).nonzero().flatten()
        self.images, self.labels = images[self._index], labels[self._index]
        self.targets = None if targets is None else targets[self._index]
        self.lead = lead_of(self.labels, self.targets)
        self._best, self._distance = self.images.clone(), self.images.new_full((len(self.images),), torch.inf)

    def __len__(self) -> int:
        """How many samples are attacked."""
        return len(self._index)

    def offer(self, candidates: Float[Tensor, "n c h w"], logits: Float[Tensor, "n k"]) -> Bool[Tensor, " n"]:
        """Keep those of the candidates that are adversarial and closer than what was kept.

        Args:
            candidates: an image of each attacked sample, in the order of ``images``.
            logits: theirs, at crafting precision.

        Returns:
            Which candidates are adversarial. The judge is asked about those that are closer; for the others
            the given logits decide.
        """
        adversarial = self._counts(logits)
        distance = (candidates - self.images).flatten(1).norm(dim=1)
        closer = (adversarial & (distance < self._distance)).nonzero().flatten()
        if len(closer):
            verdict = self._craft.judge(candidates[closer]).float()
            adversarial = self._counts(logits.index_copy(0, closer, verdict))
            targets = None if self.targets is None else self.targets[closer]
            mistaken = self._craft.confirmed(adversarial[closer], candidates[closer], self.labels[closer], targets)
            adversarial = adversarial.index_copy(0, closer, mistaken)
            confirmed = closer[adversarial[closer]]
            self._best[confirmed], self._distance[confirmed] = candidates[confirmed], distance[confirmed]
        return adversarial

    def finish(self, threat: L2) -> Attacked:
        """The closest images where they are within the radius, else the clean ones, and the verdicts.

        Args:
            threat: gives the radius.
        """
        within = self._distance <= threat.eps
        images, broken = self._clean.clone(), self._broken.clone()
        images[self._index[within]], broken[self._index[within]] = self._best[within], True
        if self._targets is None:
            return Attacked(images, ~broken)
        return Attacked(images, self._craft.judge(images).argmax(1) == self._labels, broken)

    def _counts(self, logits: Tensor) -> Tensor:
        return errs(logits, self.labels, self.targets) & (self.lead(logits) >= self.confidence)


FORMS = (
    Form(
        name="CW",
        attack=cw_l2,
        kind="protocol",
        number=10,
        settings={"searches": 1, "initial_c": 0.5},
        norm="l2",
    ),
)
