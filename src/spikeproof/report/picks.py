"""Which trials a table of several runs has columns for: an audit may hold fifty, and a terminal shows a few."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.report.records import Audit, Counted, Run, Trial

MOST_COLUMNS = 4
STRONGEST = "Strongest other"


def trial_named(audit: Audit, name: str) -> Trial | None:
    return next((trial for trial in audit.trials if trial.name == name), None)


def clean_of(audit: Audit) -> Counted | None:
    """The accuracy on the images as they are."""
    return next((trial.own for trial in audit.trials if trial.kind == "clean"), None)


def is_headline(audit: Audit, trial: Trial) -> bool:
    """Whether its accuracy is *the* protocol accuracy."""
    return trial.kind == "protocol" and trial.name == audit.protocol_trial


def protocol_columns(runs: Sequence[Run], most: int = MOST_COLUMNS) -> list[str]:
    """Names of the protocol trials that get a column, in the order in which they were run.

    Every run's headline has one; the rest go to the first others, those within the radius before unbounded ones.
    """
    audits = [run.audit for run in runs if run.audit is not None]
    found = {t.name: t for audit in audits for t in audit.trials if t.kind == "protocol" and t.own is not None}
    headlines = {audit.protocol_trial for audit in audits}
    ranked = sorted(found.values(), key=lambda trial: (trial.name not in headlines, not trial.counts))
    kept = {trial.name for trial in ranked[: max(most, len(headlines))]}
    return [name for name in found if name in kept]


def strongest_other(audit: Audit) -> Trial | None:
    """Of the trials beyond the protocol, the one of the lowest own accuracy, or else the one that newly broke most.

    The trials' own accuracies are compared only where each of them attacked everyone.
    """
    others = [trial for trial in audit.trials if trial.kind not in ("clean", "protocol") and trial.counts]
    if not others:
        return None
    if all(trial.own is not None for trial in others):
        return min(others, key=lambda trial: trial.own.accuracy if trial.own else 1.0)
    return max(others, key=lambda trial: trial.newly_broken)


def heading(name: str, runs: Sequence[Run]) -> str:
    """A trial's name, marked where it is judged at any L2 distance."""
    trials = (trial_named(run.audit, name) for run in runs if run.audit is not None)
    return name if all(trial is None or trial.counts for trial in trials) else f"{name} (any L2)"
