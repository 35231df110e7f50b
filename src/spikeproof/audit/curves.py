"""Accuracy against radius and against steps, on some of the samples. The diagnostics use the same points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Curves
from spikeproof.audit.engine import Attempt
from spikeproof.audit.findings import MeasuredPoint
from spikeproof.audit.trials import Trial, make_trial
from spikeproof.records.trials import Counted

_CHECKED_STEPS = (5, 40)

Point = tuple[str, Trial, float]  # what it is called, the trial, its radius


class SweepPlan:
    """Which trials are run at which radius beside the battery, and the curves that they give.

    Args:
        config: its ``sweep``, ``step_sweep`` and ``diagnostics`` decide what is run.
        headline: the protocol trial; adaptive: the first adaptive one, or None. These two are swept.
        pixels: how many values an image has.
    """

    def __init__(self, config: AuditConfig, headline: Trial, adaptive: Trial | None, pixels: int) -> None:
        self._eps = config.threat.eps
        self._whole = 1.0 if config.norm == "linf" else pixels**0.5  # no two images are further apart
        self._one_step, self._queries, self._anywhere, pgd = (
            make_trial(text, config.norm) for text in ("FGSM", "SQUARE-300", "PGD-ANY-20", "PGD-20")
        )
        self._checked = {steps: pgd.with_number(steps) for steps in _CHECKED_STEPS}
        self._swept = [trial for trial in (headline, adaptive) if trial is not None]
        self._probe = headline if headline.attack_name == "PGD" else pgd
        radii = sorted({config.threat.parse(eps) for eps in config.sweep})
        planned = [(trial, at) for at in ((*radii, self._eps) if radii else ()) for trial in self._swept]
        planned += [(trial.with_number(n), self._eps) for n in config.step_sweep for trial in self._swept]
        if config.diagnostics:
            planned += [(self._probe, at) for at in self._near()] + [(self._anywhere, self._whole)]
            planned += [(trial, self._eps) for trial in self._checked.values()]
            planned += [(self._one_step, self._eps), (self._queries, self._eps)]
        self.points: list[Point] = list({_name(*pair): (_name(*pair), *pair) for pair in planned}.values())

    def by_eps(self, attempts: Mapping[str, Attempt], right: Bool[Tensor, " n"]) -> list[MeasuredPoint]:
        """The swept trials' accuracies by radius, from 0 (the clean images) on.

        Args:
            attempts: what came of all ``points``, by their names.
            right: for each sample of the curve whether it is right when clean.
        """
        swept = {trial.name: trial for trial in self._swept}
        shown = [point for point in self.points if point[1].name in swept]
        clean = Counted.of(int(right.sum()), len(right))
        curve = [MeasuredPoint(0.0, swept[name], clean) for name in dict.fromkeys(point[1].name for point in shown)]
        curve += [MeasuredPoint(at, trial, _measured(attempts[name], right)) for name, trial, at in shown]
        return sorted(curve, key=lambda point: (point.at, point.trial.kind != "protocol"))

    def by_steps(self, attempts: Mapping[str, Attempt], right: Bool[Tensor, " n"]) -> list[MeasuredPoint]:
        """The swept trials' accuracies at the audit's radius, by their number of steps; empty below two points.

        Args:
            attempts, right: as in ``by_eps``.
        """
        families = {(trial.attack_name, trial.source) for trial in self._swept if trial.number is not None}
        curve = [
            MeasuredPoint(float(trial.number or 0), trial, _measured(attempts[name], right))
            for name, trial, at in self.points
            if at == self._eps and (trial.attack_name, trial.source) in families
        ]
        # One point makes no curve.
        several = [point for point in curve if sum(p.trial.kind == point.trial.kind for p in curve) > 1]
        return sorted(several, key=lambda point: (point.trial.kind != "protocol", point.at))

    def for_diagnostics(self, attempts: Mapping[str, Attempt]) -> Curves:
        """What the diagnostics look at: shares that the attacks leave of the samples that are right when clean.

        Args:
            attempts: as in ``by_eps``.
        """

        def share(trial: Trial, at: float) -> float:
            return attempts[_name(trial, at)].correct.float().mean().item()

        probed, searched = (attempts[_name(trial, self._eps)].correct for trial in (self._probe, self._queries))
        left_by_both = probed & searched
        by_steps = {steps: share(trial, self._eps) for steps, trial in self._checked.items()}
        anywhere = share(self._anywhere, self._whole)
        return Curves(
            by_eps={at: share(self._probe, at) for at in self._near()} | {self._whole: anywhere},
            by_steps=by_steps | {self._probe.number or 20: share(self._probe, self._eps)},
            one_step=share(self._one_step, self._eps),
            black_box=left_by_both.float().mean().item(),
            anywhere=anywhere,
            samples=len(left_by_both),
        )

    def inside(self, attempts: Mapping[str, Attempt]) -> dict[str, Attempt]:
        """The attempts, by name, whose images lie in the audit's own ball.

        Args:
            attempts: as in ``by_eps``.
        """
        return {name: attempts[name] for name, trial, at in self.points if trial.bounded and at <= self._eps}

    def _near(self) -> tuple[float, ...]:
        return self._eps / 2, self._eps, min(2 * self._eps, self._whole)


def _name(trial: Trial, eps: float) -> str:
    return f"{trial.name} at {eps:.6g}"


def _measured(attempt: Attempt, right: Bool[Tensor, " n"]) -> Counted:
    """The accuracy over all samples of the curve; one that is wrong when clean counts as broken."""
    return Counted.of(int(attempt.correct.sum()), len(right))


def swept_pair(trials: Sequence[Trial]) -> tuple[Trial, Trial | None]:
    """The trial whose accuracy is the protocol accuracy, and the first adaptive trial, or None.

    Args:
        trials: with one or more protocol trials among them.

    Example:
        >>> [trial.name for trial in swept_pair(AuditConfig(battery="quick").members()) if trial]
        ['PGD-20', 'SA-PGD-20@ASSG']
    """
    headline = max((trial for trial in trials if trial.rank is not None), key=lambda trial: trial.rank or (0, 0))
    return headline, next((trial for trial in trials if trial.kind == "adaptive"), None)
