"""The result table as text for the terminal: one run a row, with protocol trials, worst case and masking gap."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.errors import SpikeproofError
from spikeproof.report.certified import certified_sentence
from spikeproof.report.network import OURS, network_sentences
from spikeproof.report.numbers import listed, percent
from spikeproof.report.picks import (
    MOST_COLUMNS,
    STRONGEST,
    clean_of,
    heading,
    is_headline,
    protocol_columns,
    strongest_other,
    trial_named,
)
from spikeproof.report.records import Audit, Measured, SavedRun
from spikeproof.report.wording import (
    OF_ADAPTIVE,
    checks_text,
    conditions,
    differing,
    doubts,
    further,
    labels,
    quiet,
    unlike,
    unlike_sentence,
    worst_case,
)

WIDEST = 120  # letters in a line of a common terminal


def text_table(runs: Sequence[SavedRun]) -> str:
    """The result table as aligned Markdown for the terminal, in ASCII, with conditions and warnings below.

    Conditions that all runs share stand once below the table. Those that differ become columns. Where the table would
    be wider than a terminal, protocol trials are left out, but not the one of the protocol accuracy; the HTML has all.

    Args:
        runs: one or more runs from `read_run`; a run without an audit keeps its row.

    Returns:
        Several lines; the last has no line end.

    Raises:
        SpikeproofError: there is no run.
    """
    if not runs:
        raise SpikeproofError("The table needs at least one run, got none; give one or more run folders.")
    differ, names = differing(runs), [_plain(name) for name in labels(runs)]
    for most in range(MOST_COLUMNS, -1, -1):
        shown = protocol_columns(runs, most)
        lines = _lines(runs, names, differ, shown)
        if len(lines[0]) <= WIDEST:
            break
    return "\n".join([*lines, "", *_notes(runs, names, differ, shown)])


def _lines(runs: Sequence[SavedRun], names: Sequence[str], differ: Sequence[str], shown: Sequence[str]) -> list[str]:
    """The aligned table itself."""
    trials = [_plain(heading(name, runs)) for name in shown]
    header = ["Run", *differ, "Clean", *trials, STRONGEST, "Worst case", "Masking gap", "Red flags"]
    rows = [_row(name, run.audit, shown, differ) for name, run in zip(names, runs, strict=True)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lead = 1 + len(differ)
    rule = ["-" * width if i < lead else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [
        "| " + " | ".join(cell.ljust(w) if i < lead else cell.rjust(w) for i, (cell, w) in enumerate(pairs)) + " |"
        for pairs in (list(zip(row, widths, strict=True)) for row in [header, rule, *rows])
    ]


def _row(name: str, audit: Audit | None, shown: Sequence[str], differ: Sequence[str]) -> list[str]:
    if audit is None:
        return [name, *("-" for _ in differ), "-", *("-" for _ in shown), "-", "not audited", "-", "-"]
    stated, clean, cells = conditions(audit), clean_of(audit), []
    for each in shown:
        trial = trial_named(audit, each)
        if trial is None or trial.own is None:
            cells.append("- ")
        else:
            cells.append(percent(trial.own.accuracy) + ("*" if is_headline(audit, trial) else " "))
    return [
        name,
        *(_plain(stated[each]) for each in differ),
        percent(clean.accuracy) if clean else "-",
        *cells,
        _strongest(audit),
        worst_case(audit),
        ("at least " if audit.no_number else "") + percent(audit.masking_gap) + ("" if audit.has_adaptive else "?"),
        checks_text(audit),
    ]


def _strongest(audit: Audit) -> str:
    """The strongest other trial with its own accuracy, or with a minus sign what it newly broke, in percent."""
    trial = strongest_other(audit)
    if trial is None:
        return "-"
    if trial.own is not None:
        return f"{_plain(trial.name)} {percent(trial.own.accuracy)}"
    return f"{_plain(trial.name)} -{percent(trial.newly_broken / audit.samples)}"


def _notes(runs: Sequence[SavedRun], names: Sequence[str], differ: Sequence[str], shown: Sequence[str]) -> list[str]:
    audits = [run.audit for run in runs if run.audit is not None]
    notes = []
    if audits:
        printed: list[Measured] = [each for audit in audits for each in (audit.protocol, audit.worst_case)]
        for audit in audits:
            printed += [t.own for t in audit.trials if t.own and (t.kind == "clean" or t.name in shown)]
        reach = max(max(each.high - each.accuracy, each.accuracy - each.low) for each in printed)
        notes.append(f"Accuracy in percent; 95 % intervals reach at most {percent(reach)} points to a side.")
        shared = [_plain(words) for name, words in conditions(audits[0]).items() if name not in differ]
        if shared:
            notes.append(f"{', '.join(shared)}.")
        notes.append("* protocol accuracy; masking gap = protocol - worst case, in points.")
        notes += _of_other_trials(audits, shown)
        for name, run in zip(names, runs, strict=True):
            if run.audit is not None and run.audit.search is not None:
                notes.append(f"{name}: {further(run.audit.search, run.audit.samples)}")
            if run.audit is not None:
                notes += [f"{name}: {certified_sentence(each, run.audit)}" for each in run.certificates]
        notes += _of_networks(runs, names)
    if unlike(runs):
        notes.append(f"! {unlike_sentence(runs)} Compare only rows that agree.")
    unaudited = [name for name, run in zip(names, runs, strict=True) if run.audit is None]
    if unaudited:
        notes.append(f"! {listed(unaudited)}: not audited yet.")
    audited = [(name, run.audit) for name, run in zip(names, runs, strict=True) if run.audit is not None]
    for about, doubt in doubts(audited):
        mark = " (?)" if doubt.code in OF_ADAPTIVE else ""
        notes.append(f"! {listed(about)}: {_plain(str(doubt))}{mark}")
    if unflagged := quiet(audited):
        notes.append(f"No red flag in any check: {listed(unflagged)}.")
    return notes


def _of_networks(runs: Sequence[SavedRun], names: Sequence[str]) -> list[str]:
    """A line for each network whose layers are not of this library."""
    return [
        f"{name}: {_plain(' '.join(network_sentences(run.audit)))}"
        for name, run in zip(names, runs, strict=True)
        if run.audit is not None and run.audit.network is not None and run.audit.network.library != OURS
    ]


def _of_other_trials(audits: Sequence[Audit], shown: Sequence[str]) -> list[str]:
    """How to read the strongest other trial, and which trials the table leaves out."""
    picked = [trial for audit in audits if (trial := strongest_other(audit)) is not None]
    notes = []
    if any(trial.own is None for trial in picked):
        notes.append(
            f"{STRONGEST}: the trial that newly broke most, with a minus sign how many percent of the samples; it "
            "attacked only what was left."
        )
    if any(trial.own is not None for trial in picked):
        notes.append(
            f"{STRONGEST}: of the trials beyond the protocol, the one that leaves least, with its own accuracy."
        )
    there = {*shown, *(trial.name for trial in picked)}
    hidden = dict.fromkeys(
        t.name for audit in audits for t in audit.trials if t.kind != "clean" and t.name not in there
    )
    if hidden:
        few = [_plain(name) for name in hidden][:3]
        more = [f"{len(hidden) - len(few)} more"] if len(hidden) > len(few) else []
        notes.append(f"The HTML report has the other trials too: {listed([*few, *more])}.")
    return notes


def _plain(words: str) -> str:
    """The words as one line of printable ASCII that fits into a cell of Markdown."""
    line = " ".join(words.replace("∞", "inf").replace("|", "/").split())
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in line)
