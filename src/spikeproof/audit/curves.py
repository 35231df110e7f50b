"""Accuracy against radius and against steps, on some of the samples; the diagnostics look at the same points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Curves
from spikeproof.audit.engine import Attempt
from spikeproof.audit.findings import CurvePoint
from spikeproof.audit.outcomes import Measured
from spikeproof.audit.trials import Trial, Tuned, make_trial
from spikeproof.threat import parse_radius

_ONE_STEP, _QUERIES, _ANYWHERE = (make_trial(text) for text in ("FGSM", "SQUARE-300", "PGD-ANY-20"))
_CHECKED_STEPS = (5, 40)

Point = tuple[str, Trial, float]  # what it is called, the trial, its radius


class CurvePlan:
    """Which trials are run at which radius beside the battery, and what follows from them.

    Args:
        headline: the nominal trial; adaptive: the first adaptive one, if any. These two are swept.
        tuned: the settings of sources that the config leaves open.
    """

    def __init__(self, config: AuditConfig, headline: Trial, adaptive: Trial | None, tuned: Tuned) -> None:
        self._radius = config.threat.radius
        self._swept = [trial for trial in (headline, adaptive) if trial is not None]
        self._probe = headline if headline.attack_name == "PGD" else make_trial("PGD-20")
        asked = sorted({parse_radius(radius) for radius in config.sweep})
        planned = [(trial, at) for at in ((*asked, self._radius) if asked else ()) for trial in self._swept]
        planned += [(_with_steps(trial, n, tuned), self._radius) for n in config.step_sweep for trial in self._swept]
        if config.diagnostics:
            near = (self._radius / 2, self._radius, min(2 * self._radius, 1.0))
            planned += [(self._probe, at) for at in near] + [(_ANYWHERE, 1.0)]
            planned += [(make_trial(f"PGD-{n}"), self._radius) for n in _CHECKED_STEPS]
            planned += [(_ONE_STEP, self._radius), (_QUERIES, self._radius)]
        self.points: list[Point] = list({_name(*pair): (_name(*pair), *pair) for pair in planned}.values())

    def by_radius(self, found: Mapping[str, Attempt], right: Bool[Tensor, " n"]) -> list[CurvePoint]:
        """The swept trials' accuracies, from radius 0 on."""
        swept = {trial.name: trial for trial in self._swept}
        shown = [point for point in self.points if point[1].name in swept]
        clean = Measured(int(right.sum()), len(right))
        curve = [CurvePoint(0.0, swept[name], clean) for name in dict.fromkeys(point[1].name for point in shown)]
        curve += [CurvePoint(at, trial, _measured(found[name], right)) for name, trial, at in shown]
        return sorted(curve, key=lambda point: (point.at, point.trial.kind != "nominal"))

    def by_steps(self, found: Mapping[str, Attempt], right: Bool[Tensor, " n"]) -> list[CurvePoint]:
        """The swept trials' accuracies at the audit's radius, by their number of steps."""
        families = {(trial.attack_name, trial.source) for trial in self._swept if trial.number is not None}
        curve = [
            CurvePoint(float(trial.number or 0), trial, _measured(found[name], right))
            for name, trial, at in self.points
            if at == self._radius and (trial.attack_name, trial.source) in families
        ]
        # One point is no curve.
        several = [point for point in curve if sum(p.trial.kind == point.trial.kind for p in curve) > 1]
        return sorted(several, key=lambda point: (point.trial.kind != "nominal", point.at))

    def for_diagnostics(self, found: Mapping[str, Attempt]) -> Curves:
        """The nominal attack's shares of the samples that are right when clean."""

        def share(trial: Trial, at: float) -> float:
            return found[_name(trial, at)].correct.float().mean().item()

        near = (self._radius / 2, self._radius, min(2 * self._radius, 1.0))
        left_by_both = found[_name(self._probe, self._radius)].correct & found[_name(_QUERIES, self._radius)].correct
        by_steps = {n: share(make_trial(f"PGD-{n}"), self._radius) for n in _CHECKED_STEPS}
        return Curves(
            by_radius={at: share(self._probe, at) for at in near} | {1.0: share(_ANYWHERE, 1.0)},
            by_steps=by_steps | {self._probe.number or 20: share(self._probe, self._radius)},
            one_step=share(_ONE_STEP, self._radius),
            black_box=left_by_both.float().mean().item(),
            samples=len(left_by_both),
        )


def _name(trial: Trial, radius: float) -> str:
    return f"{trial.name} at {radius:.6g}"


def _with_steps(trial: Trial, steps: int, tuned: Tuned) -> Trial:
    _, at, source = trial.name.partition("@")
    return trial if trial.number is None else make_trial(f"{trial.attack_name}-{steps}{at}{source}", tuned)


def _measured(attempt: Attempt, right: Bool[Tensor, " n"]) -> Measured:
    """Over all samples of the curve, a clean error counting as broken."""
    return Measured(int(attempt.correct.sum()), len(right))


def swept_pair(trials: Sequence[Trial]) -> tuple[Trial, Trial | None]:
    """The headline of a battery, and its first adaptive trial.

    Example:
        >>> [trial.name for trial in swept_pair(AuditConfig(battery="quick").members()) if trial]
        ['PGD-20', 'SA-PGD-20@ASSG']
    """
    headline = max((trial for trial in trials if trial.rank is not None), key=lambda trial: trial.rank or (0, 0))
    return headline, next((trial for trial in trials if trial.kind == "adaptive"), None)
