"""A setting that no paper states: candidates are trained, and the one that costs what the paper's method cost wins."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from spikeproof.engine.store import Store
from spikeproof.engine.task import Task, of_tables
from spikeproof.runs import RunFolder
from spikeproof.tables import Calibration, Scale, at_scale


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a calibration chose: the number of a candidate, and what each reached on so many validation images."""

    calibration: Calibration
    index: int
    accuracies: tuple[float | None, ...]
    reference: float
    images: int

    @property
    def miss(self) -> float | None:
        """Points by which the chosen one's clean accuracy misses the published price; None within two errors of it."""
        off = 100 * self._reached - self._aim
        return off if abs(off) > 2 * self._error else None

    @property
    def _reached(self) -> float:
        reached = self.accuracies[self.index]
        assert reached is not None  # a failed one is not chosen
        return reached

    @property
    def _aim(self) -> float:
        return 100 * self.reference - self.calibration.drop

    @property
    def _error(self) -> float:
        return 100 * math.sqrt(self._reached * (1 - self._reached) / self.images)

    def sentence(self) -> str:
        """For the table's page."""
        calibration = self.calibration
        tried = ", ".join(
            f"{words} {'failed' if accuracy is None else f'{100 * accuracy:.1f}'}"
            for words, accuracy in zip(_in_words(calibration), self.accuracies, strict=True)
        )
        far = "" if self.miss is None else f", and the nearest misses it by {self.miss:+.1f}"
        return (
            f"{calibration.name}: {_in_words(calibration)[self.index]}, whose validation accuracy comes closest to "
            f"{self._aim:.1f}, the reference's {100 * self.reference:.1f} less {calibration.drop:.2f} points "
            f"({calibration.source}). Tried: {tried}, each with a standard error of {self._error:.1f}{far}."
        )


def tasks_of(calibration: Calibration, scale: Scale) -> list[Task]:
    """What must be trained to decide a calibration: its reference, then each candidate."""
    candidates = [
        of_tables(f"{calibration.name}: {words}", at_scale(calibration.recipe.having(candidate), scale))
        for words, candidate in zip(_in_words(calibration), calibration.candidates, strict=True)
    ]
    return [of_tables(f"{calibration.name}: reference", at_scale(calibration.reference, scale)), *candidates]


def choose(store: Store, calibration: Calibration, scale: Scale, failed: Collection[Task] = ()) -> Choice | None:
    """The candidate whose validation accuracy comes closest to the reference's less the published loss.

    Args:
        store: where the networks lie.
        failed: tasks that are not tried again.

    Returns:
        None while networks are missing that did not fail, and where the reference or all candidates failed.
    """
    reference, *candidates = tasks_of(calibration, scale)
    if not all(store.trained(task.recipe) or task in failed for task in (reference, *candidates)):
        return None
    aim = _validated(store, reference)
    reached = tuple(_validated(store, task) for task in candidates)
    if aim is None or all(accuracy is None for accuracy in reached):
        return None
    wanted = aim - calibration.drop / 100
    # Rounded, so that equals are equal; a failed candidate comes last.
    distances = [2.0 if accuracy is None else round(abs(accuracy - wanted), 9) for accuracy in reached]
    images = reference.recipe.data.validation
    assert images is not None  # tables say how many
    return Choice(calibration, distances.index(min(distances)), reached, aim, images)


def _in_words(calibration: Calibration) -> list[str]:
    """The candidates in words: the fields that differ between them."""
    plain = [dataclasses.asdict(candidate) for candidate in calibration.candidates]
    differing = [name for name in plain[0] if any(each[name] != plain[0][name] for each in plain)]
    return [", ".join(f"{name} {each[name]}" for name in differing) for each in plain]


def _validated(store: Store, task: Task) -> float | None:
    """The last validation accuracy of a trained network."""
    if not store.trained(task.recipe):
        return None
    accuracy = RunFolder(store.network(task.recipe)).metrics()[-1]["validation_accuracy"]
    return float(accuracy)
