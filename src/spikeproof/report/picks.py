"""Which trials get a column in a table of several runs: an audit may have fifty, and a terminal has room for a few."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.report.records import Audit, Counted, SavedRun, Trial

MOST_COLUMNS = 4
STRONGEST = "Strongest other"


def trial_named(audit: Audit, name: str) -> Trial | None:
    """The audit's trial of this name; None without one."""
    return next((trial for trial in audit.trials if trial.name == name), None)


def clean_of(audit: Audit) -> Counted | None:
    """The accuracy on the clean images; None for an audit without it."""
    return next((trial.own for trial in audit.trials if trial.kind == "clean"), None)


def is_headline(audit: Audit, trial: Trial) -> bool:
    """Whether its accuracy is *the* protocol accuracy."""
    return trial.kind == "protocol" and trial.name == audit.protocol_trial


def protocol_columns(runs: Sequence[SavedRun], most: int = MOST_COLUMNS) -> list[str]:
    """Names of the protocol trials that get a column, in the order in which they were run.

    Args:
        runs: with and without audits.
        most: how many columns there may be. The trials that give the runs' protocol accuracies get one in any case;
            what is left goes to the first other trials, those inside the ball first.
    """
    audits = [run.audit for run in runs if run.audit is not None]
    trials = {t.name: t for audit in audits for t in audit.trials if t.kind == "protocol" and t.own is not None}
    headlines = {audit.protocol_trial for audit in audits}
    ranked = sorted(trials.values(), key=lambda trial: (trial.name not in headlines, not trial.counts))
    kept = {trial.name for trial in ranked[: max(most, len(headlines))]}
    return [name for name in trials if name in kept]


def strongest_other(audit: Audit) -> Trial | None:
    """The strongest trial inside the ball that is not a protocol trial; None without any.

    Where all of them attacked every sample, it is the one with the lowest accuracy of its own, else the one that broke
    most samples that no trial before it had broken.
    """
    others = [trial for trial in audit.trials if trial.kind not in ("clean", "protocol") and trial.counts]
    if not others:
        return None
    if all(trial.own is not None for trial in others):
        return min(others, key=lambda trial: trial.own.accuracy if trial.own else 1.0)
    return max(others, key=lambda trial: trial.newly_broken)


def heading(name: str, runs: Sequence[SavedRun]) -> str:
    """A trial's name, marked where it is judged at any L2 distance, or in another ball than the audit's."""
    trials = [trial for run in runs if run.audit is not None and (trial := trial_named(run.audit, name)) is not None]
    beyond = [trial for trial in trials if not trial.counts]
    return f"{name} ({'any L2' if beyond[0].norm == 'l2' else 'other ball'})" if beyond else name
