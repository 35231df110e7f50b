"""A comparison as a page of Markdown: one row a recipe, its seeds together, written between two marks of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.report.numbers import bracketed, listed, over_seeds, percent, share
from spikeproof.report.picks import clean_of, protocol_columns, trial_named
from spikeproof.report.press import Markdown, markdown, markdown_table
from spikeproof.report.records import Audit, SavedRun
from spikeproof.report.wording import asked_trials, conditions

BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"


def comparison_table(rows: Mapping[str, Sequence[SavedRun]], costs: Mapping[str, float]) -> str:
    """The table of the audited runs, and the conditions that they share, as Markdown.

    A cell is the mean over the row's seeds, with the range where there are several; the worst case of a single seed has
    its 95 % interval.

    Args:
        rows: label to runs, one a seed. A run without an audit is left out; a row without any is named below the table.
        costs: label to what its training costs by estimate, the first row's = 1. The time that a run took tells less:
            most machines do other things meanwhile.

    Raises:
        SpikeproofError: no row has an audited run, or two rows were audited under different conditions.
    """
    audited = {label: [run for run in runs if run.audit is not None] for label, runs in rows.items()}
    shown = {label: runs for label, runs in audited.items() if runs}
    if not shown:
        raise SpikeproofError("No run of this comparison is audited yet, so there is no table; let it go on.")
    protocol = protocol_columns([run for runs in shown.values() for run in runs])
    header = ["Row", "Seeds", "Clean", *protocol, "Worst case", "Gap", "Firing rate", "Training cost", "Red flags"]
    rows_of_seeds = [_cells(label, runs, protocol, costs[label]) for label, runs in shown.items()]
    pairs = [(run, run.audit) for runs in shown.values() for run in runs if run.audit is not None]
    _refuse_unlike(pairs)
    first = pairs[0][1]
    return markdown(
        "comparison.md",
        table=markdown_table(header, rows_of_seeds, words=["Row"]),
        shared=_shared(first).values(),
        machines=sorted({f"torch {run.config['torch']}, {run.config['threads']} thread(s)" for run, _ in pairs}),
        attacks=[trial.name for trial in first.trials if trial.counts and trial.kind != "clean"],
        drawn=[f"{label} {draws}" for label, runs in shown.items() for draws in _draws(runs)],
        headline=first.protocol_trial,
        missing=[label for label in rows if label not in shown],
    )


def read_page(page: Path) -> str:
    """Read a page of Markdown that will get a table.

    Args:
        page: the file. Where there is none, a heading is returned.

    Raises:
        SpikeproofError: a folder or a file is in its way, it is no UTF-8 text, or it has one of the two marks without
            the other.
    """
    if page.is_dir() or any(above.is_file() for above in page.parents):
        raise SpikeproofError(f"{page} cannot be a page: a folder or a file is in its way; give another --page.")
    try:
        before = page.read_text(encoding="utf-8") if page.is_file() else "# Comparison\n"
    except UnicodeDecodeError:
        raise SpikeproofError(f"{page} is not a text in UTF-8; give another --page.") from None
    if (BEGIN in before) != (END in before) or before.find(BEGIN) > before.find(END):
        raise SpikeproofError(f"{page} has one of the marks {BEGIN} and {END} without the other; restore the pair.")
    return before


def write_between_marks(page: Path, text: str) -> None:
    """Replace what stands between the page's two marks.

    Args:
        page: the file. Where it has no marks, or does not exist, the marks are added at its end.
        text: Markdown.

    Raises:
        SpikeproofError: as :func:`read_page`.
    """
    before = read_page(page)
    if BEGIN not in before:
        before = f"{before.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, tail = before.split(BEGIN)[0], before.split(END)[1]
    whole = f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"
    write_atomically(page, lambda path: path.write_text(whole, encoding="utf-8", errors="replace"))


def _cells(label: str, runs: Sequence[SavedRun], protocol: Sequence[str], cost: float) -> list[str]:
    audits = [run.audit for run in runs if run.audit is not None]
    flags = [len(audit.raised) for audit in audits]
    return [
        label,
        str(len(runs)),
        *(over_seeds([_own(audit, name) for audit in audits], percent) for name in (None, *protocol)),
        _worst(audits),
        over_seeds([audit.masking_gap for audit in audits], percent),
        share(fmean(_firing_rate(run) for run in runs)),
        f"{cost:.1f}x",
        "/".join(map(str, flags)),
    ]


def _worst(audits: Sequence[Audit]) -> Markdown:
    """The worst case to quote; "none" where one seed's audit has no number."""
    if any(audit.no_number for audit in audits):
        return Markdown("**none**")
    worst = [audit.worst_case for audit in audits]
    interval = bracketed(100 * worst[0].low, 100 * worst[0].high) if len(worst) == 1 else ""
    return Markdown(f"**{over_seeds([each.accuracy for each in worst], percent)}** {interval}".rstrip())


def _own(audit: Audit, name: str | None) -> float:
    if name is None:
        clean = clean_of(audit)
        return clean.accuracy if clean else float("nan")
    trial = trial_named(audit, name)
    return trial.own.accuracy if trial is not None and trial.own is not None else float("nan")


def _firing_rate(run: SavedRun) -> float:
    """Mean over the sites, on the validation images after the last epoch."""
    rates = run.epochs[-1].firing_rates.values() if run.epochs else ()
    return fmean(rates) if rates else float("nan")


def _draws(runs: Sequence[SavedRun]) -> list[str]:
    """For random networks, the draws of a gradient and of a verdict, as "10/100"."""
    audits = [run.audit for run in runs if run.audit is not None and run.audit.noise != "off"]
    return sorted({f"{audit.eot_iter}/{audit.judge_draws}" for audit in audits})


def _refuse_unlike(pairs: Sequence[tuple[SavedRun, Audit]]) -> None:
    """Refuse rows that were audited under different conditions; the number of draws may differ."""
    base, first = pairs[0]
    for run, audit in pairs:
        names = [name for name, words in _shared(first).items() if _shared(audit)[name] != words]
        names += ["attacks"] if asked_trials(audit) != asked_trials(first) else []
        if names:
            raise SpikeproofError(
                f"{run.folder} was audited under other conditions ({listed(names).lower()}) than {base.folder}; "
                "audit both alike, or compare them apart."
            )


def _shared(audit: Audit) -> dict[str, str]:
    return {name: words for name, words in conditions(audit).items() if name != "Noise"}
