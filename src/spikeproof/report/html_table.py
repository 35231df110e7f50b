"""The result table as HTML, and below it a table of every trial of every run."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.report.picks import STRONGEST, protocol_columns
from spikeproof.report.press import html
from spikeproof.report.records import SavedRun
from spikeproof.report.wording import differing, doubts, kind_of, labels, quiet, unlike_sentence


def html_table(runs: Sequence[SavedRun]) -> Markup:
    """The result table, with the conditions of the audits above it and their warnings below."""
    names = labels(runs)
    audited = [(name, run.audit) for name, run in zip(names, runs, strict=True) if run.audit is not None]
    trials = dict.fromkeys(
        (kind_of(trial), trial.name)
        for wanted in (("clean",), ("protocol",), None)
        for _, audit in audited
        for trial in audit.trials
        if wanted is None or trial.kind in wanted
    )
    return html(
        "run_table.html",
        runs=runs,
        names=names,
        audited=audited,
        names_of_audited=[name for name, _ in audited],
        shown=protocol_columns(runs),
        differ=differing(runs),
        unlike=unlike_sentence(runs),
        doubts=doubts(audited),
        quiet=quiet(audited),
        trials=trials,
        strongest_label=STRONGEST,
    )
