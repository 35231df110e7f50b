"""What audit.json says about a trial: its counts, and its accuracies by radius and by steps."""

from __future__ import annotations

from typing import Self

from pydantic import PrivateAttr, model_validator

from spikeproof.counts import wilson
from spikeproof.records.record import RunRecord
from spikeproof.records.values import FromOne, Number, Share, Text, Truth, Whole, contradiction

ROUNDING = 1e-3  # how far two numbers of one file may disagree because one of them was rounded


class Accuracy(RunRecord):
    """An accuracy in [0, 1] with its 95 % Wilson bounds."""

    accuracy: Share
    low: Share
    high: Share

    @model_validator(mode="after")
    def _lies_within_its_bounds(self) -> Self:
        if not self.low - ROUNDING <= self.accuracy <= self.high + ROUNDING:
            raise contradiction("accuracy", f"between its bounds {self.low} and {self.high}, got {self.accuracy}")
        return self


class Counted(Accuracy):
    """An accuracy with the count behind it: ``correct`` of ``samples``."""

    correct: Whole
    samples: Whole

    @classmethod
    def of(cls, correct: int, samples: int) -> Counted:
        """Make one of a count, with its 95 % Wilson bounds.

        Args:
            correct: in [0, samples].
            samples: 1 or more.

        Example:
            >>> Counted.of(5, 10).accuracy
            0.5
        """
        low, high = wilson(correct, samples)
        return Counted(accuracy=correct / samples, low=low, high=high, correct=correct, samples=samples)

    @model_validator(mode="after")
    def _is_a_count(self) -> Self:
        if not abs(self.correct - self.accuracy * self.samples) <= ROUNDING * self.samples:
            expected = f"correct / samples, got {self.accuracy} from {self.correct} of {self.samples}"
            raise contradiction("accuracy", expected)
        return self


class TrialRecord(Counted):
    """One attack with one gradient source on the audited samples, in the order in which they were run.

    Attributes:
        kind: clean, protocol, fixed, adaptive, black-box or noise.
        norm: in which its images are near: "linf", "l2", or "none" for noise and corruptions.
        queries: how many it may spend on a sample; a gradient counts as three. 0 in older files.
        added: whether the audit added it, because something hides the gradient and this trial goes round it.
        stands_for: in an ANN, the trials of the battery whose attack it ran through the network's own gradient.
        everyone: whether it attacked every sample that is right when clean, so that the accuracy is its own. Else the
            accuracy is ``left``.
        attempted, broken: how many samples it attacked, and how many of these it broke.
        newly_broken: how many samples it broke that no trial before had broken; for the clean row the clean errors.
        left: the accuracy under it and every trial before it.
    """

    name: Text
    kind: Text
    attack: Text
    source: Text
    norm: Text
    queries: Whole = 0
    added: Truth = False
    stands_for: tuple[Text, ...] = ()
    everyone: Truth
    attempted: Whole
    broken: Whole
    newly_broken: Whole
    left: Counted
    seconds: Number
    _counts: bool = PrivateAttr(default=True)

    @property
    def own(self) -> Counted | None:
        """Its own accuracy; None where it attacked only what the trials before it left."""
        return self if self.everyone else None

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the trials that were asked for, in whose place it ran; its own name where there are none."""
        return self.stands_for or (self.name,)

    @property
    def counts(self) -> bool:
        """Whether it stayed in the audit's ball. Only such a trial is a part of the worst case."""
        return self._counts

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        numbers = (self.newly_broken, self.broken, self.attempted, self.samples)
        if list(numbers) != sorted(numbers):
            expected = "at most broken, attempted and samples in this order, got {}, {}, {} and {}".format(*numbers)
            raise contradiction("newly_broken", expected)
        if not self.everyone and self.correct != self.left.correct:
            expected = f"the {self.left.correct} that were left, as not everyone was attacked, got {self.correct}"
            raise contradiction("correct", expected)
        return self


class ProtocolRecord(Counted):
    """The protocol accuracy, and the name of its trial."""

    trial: Text


class _Point(Accuracy):
    trial: Text
    kind: Text
    correct: Whole | None = None
    samples: Whole


class SweepPoint(_Point):
    """The accuracy of one trial at one radius."""

    eps: Number


class StepPoint(_Point):
    """The accuracy of one trial with one number of steps, at the audit's radius; ``trial`` has the number too."""

    steps: FromOne
