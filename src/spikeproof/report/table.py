"""The result table, as HTML and as text: every trial, the worst case and the masking gap, one run per row."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spikeproof.errors import SpikeproofError
from spikeproof.report.records import Audit, Measured, Run, Trial
from spikeproof.report.svg import swatch
from spikeproof.report.wording import conditions, differing, interval, labels, percent, unlike, unlike_sentence

KINDS = {"clean": "Clean", "nominal": "Nominal attacks", "adaptive": "Adaptive attacks"}
WITHOUT_ADAPTIVE = (
    "no adaptive attack was run, so its worst case is over nominal attacks only and its gap proves nothing"
)


def columns(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(kind, trial name) of every trial of any run: clean, then nominal, then adaptive, then kinds unknown here."""
    found = {(trial.kind, trial.name): None for run in runs if run.audit for trial in run.audit.trials}
    order = list(KINDS)
    return sorted(found, key=lambda key: order.index(key[0]) if key[0] in order else len(order))


def _trial(audit: Audit, key: tuple[str, str]) -> Trial | None:
    return next((trial for trial in audit.trials if (trial.kind, trial.name) == key), None)


def text_table(runs: Sequence[Run]) -> str:
    """The result table as aligned Markdown for the terminal, with its conditions and warnings below; ASCII only.

    Conditions that all runs share stand once below the table; those in which they differ become columns.

    Args:
        runs: one or more runs, as `read_run` gives them; a run without an audit keeps its row.

    Returns:
        Several lines without a line end at the last.

    Raises:
        SpikeproofError: there is no run.
    """
    if not runs:
        raise SpikeproofError("The table needs at least one run, got none; give one or more run folders.")
    keys, differ, names = columns(runs), differing(runs), [_plain(name) for name in labels(runs)]
    header = ["Run", *differ, *(_plain(_heading(key)) for key in keys), "Worst case", "Masking gap"]
    rows = [_text_row(name, run.audit, keys, differ) for name, run in zip(names, runs, strict=True)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lead = 1 + len(differ)
    rule = ["-" * width if i < lead else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [
        "| " + " | ".join(cell.ljust(w) if i < lead else cell.rjust(w) for i, (cell, w) in enumerate(pairs)) + " |"
        for pairs in (list(zip(row, widths, strict=True)) for row in [header, rule, *rows])
    ]
    return "\n".join([*lines, "", *_text_notes(runs, names, differ)])


def _text_row(name: str, audit: Audit | None, keys: list[tuple[str, str]], differ: list[str]) -> list[str]:
    if audit is None:
        return [name, *("-" for _ in [*differ, *keys]), "not audited", "-"]
    stated = conditions(audit)
    cells = []
    for key in keys:
        trial = _trial(audit, key)
        star = "*" if trial and trial.name == audit.nominal_trial and trial.kind == "nominal" else " "
        cells.append(percent(trial.accuracy) + star if trial else "- ")
    gap = percent(audit.masking_gap) + ("" if audit.has_adaptive else "?")
    return [name, *(_plain(stated[each]) for each in differ), *cells, percent(audit.worst_case.accuracy), gap]


def _text_notes(runs: Sequence[Run], names: Sequence[str], differ: Sequence[str]) -> list[str]:
    audits = [run.audit for run in runs if run.audit is not None]
    notes = []
    if audits:
        shared = [_plain(words) for name, words in conditions(audits[0]).items() if name not in differ]
        measured: list[Measured] = [
            part for audit in audits for part in (*audit.trials, audit.nominal, audit.worst_case)
        ]
        reach = max(max(each.high - each.accuracy, each.accuracy - each.low) for each in measured)
        notes.append(f"Accuracy in percent; 95 % intervals reach at most {percent(reach)} points to a side.")
        if shared:
            notes.append(f"{', '.join(shared)}.")
        notes.append("* nominal accuracy; masking gap = nominal - worst case, in points.")
    if unlike(runs):
        notes.append(f"! {unlike_sentence(runs)} Compare only rows that agree.")
    for name, run in zip(names, runs, strict=True):
        if run.audit is None:
            notes.append(f"! {name}: not audited yet.")
            continue
        if not run.audit.has_adaptive:
            notes.append(f"! {name}: {WITHOUT_ADAPTIVE} (?).")
        notes.extend(f"! {name}: {_plain(warning)}" for warning in run.audit.warnings)
    return notes


def _plain(words: str) -> str:
    """One printable ASCII line that cannot break a Markdown cell."""
    line = " ".join(words.replace("∞", "inf").replace("|", "/").split())
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in line)


def _heading(key: tuple[str, str]) -> str:
    kind, name = key
    return "Clean" if kind == "clean" and name == "clean" else name


def html_table(runs: Sequence[Run]) -> str:
    """The result table as HTML, with what must be said about its conditions above it and its warnings below."""
    keys, differ, names = columns(runs), differing(runs), labels(runs)
    kinds = list(dict.fromkeys(kind for kind, _ in keys))
    groups = "".join(
        f'<th role="columnheader" scope="colgroup" colspan="{sum(key[0] == kind for key in keys)}">'
        f"{escape(KINDS.get(kind, kind) if kind != 'clean' else '')}</th>"
        for kind in kinds
    )
    heads = "".join(f'<th role="columnheader" scope="col">{escape(_heading(key))}</th>' for key in keys)
    body = "".join(_html_row(i, names[i], run, keys, differ) for i, run in enumerate(runs))
    return (
        f'{_shared(runs, differ)}<table class="results" role="table"><thead role="rowgroup">'
        f'<tr role="row" class="groups"><td></td>{groups}<th role="columnheader" scope="colgroup" colspan="2">'
        f'All attacks together</th></tr><tr role="row"><th role="columnheader" scope="col">Run</th>{heads}'
        '<th role="columnheader" scope="col">Worst case</th><th role="columnheader" scope="col">Masking gap</th></tr>'
        f'</thead><tbody role="rowgroup">{body}</tbody></table>{_below(runs, names)}'
    )


def _shared(runs: Sequence[Run], differ: Sequence[str]) -> str:
    audits = [run.audit for run in runs if run.audit is not None]
    if not audits:
        return ""
    shared = [escape(words) for name, words in conditions(audits[0]).items() if name not in differ]
    text = f'<p class="conditions">{" · ".join(shared)}</p>' if shared else ""
    if unlike(runs):
        text += (
            f'<p class="warning"><span aria-hidden="true">⚠</span> {escape(unlike_sentence(runs))} Each row shows its '
            "own; compare only rows that agree.</p>"
        )
    return text


def _html_row(index: int, name: str, run: Run, keys: list[tuple[str, str]], differ: list[str]) -> str:
    audit = run.audit
    head = f'{swatch(index)}<a href="#run-{index + 1}">{escape(name)}</a>'
    if audit is None:
        words = "not audited yet: run <code>spikeproof audit</code>"
        rest = f'<td role="cell" class="wide" colspan="{len(keys) + 2}">{words}</td>'
        return f'<tr role="row"><th role="rowheader" scope="row">{head}</th>{rest}</tr>'
    if differ:
        stated = conditions(audit)
        head += f'<span class="conditions">{" · ".join(escape(stated[each]) for each in differ)}</span>'
    cells = []
    for key in keys:
        trial = _trial(audit, key)
        if trial is None:
            cells.append(_cell(_heading(key), '<span title="this trial was not run">–</span>', "", ""))
            continue
        title = (
            f"{trial.correct} of {trial.samples} right; 95 % interval {interval(trial)} %; "
            f"attack: {trial.attack}; gradient source: {trial.source}"
        )
        small = interval(trial) + (f", n = {trial.samples}" if trial.samples != audit.samples else "")
        is_nominal = trial.name == audit.nominal_trial and trial.kind == "nominal"
        mark = ' <abbr class="star" title="the nominal accuracy of this run">*</abbr>' if is_nominal else ""
        cells.append(
            _cell(_heading(key), percent(trial.accuracy) + mark, small, title, "nominal" if is_nominal else "")
        )
    worst = audit.worst_case
    title = f"right under every attack of the audit; 95 % interval {interval(worst)} %"
    cells.append(_cell("Worst case", percent(worst.accuracy), interval(worst), title, "worst"))
    title = f"nominal {percent(audit.nominal.accuracy)} % minus worst case {percent(worst.accuracy)} %"
    small = "points" if audit.has_adaptive else "no adaptive attack"
    cells.append(_cell("Masking gap", percent(audit.masking_gap), small, title, "gap"))
    return f'<tr role="row"><th role="rowheader" scope="row">{head}</th>{"".join(cells)}</tr>'


def _cell(label: str, value: str, small: str, title: str, style: str = "") -> str:
    return (
        f'<td role="cell" class="{style}" data-label="{escape(label)}" title="{escape(title)}">'
        f"<span>{value}</span><small>{escape(small)}</small></td>"
    )


def _below(runs: Sequence[Run], names: Sequence[str]) -> str:
    text = (
        '<p class="caption">Accuracy in percent, with its 95 % Wilson interval below. <b>*</b> marks the nominal '
        "accuracy. Worst case: right under <em>every</em> attack of the audit. Masking gap = nominal − worst case: the "
        "part of the nominal accuracy that only a fixed-surrogate attack fails to take.</p>"
        if any(run.audit for run in runs)
        else ""
    )
    warnings = [
        f"<li><b>{escape(name)}</b>: {escape(warning)}</li>"
        for name, run in zip(names, runs, strict=True)
        if run.audit is not None
        for warning in (*run.audit.warnings, *(() if run.audit.has_adaptive else (WITHOUT_ADAPTIVE + ".",)))
    ]
    if warnings:
        text += f'<ul class="warning" aria-label="Warnings">{"".join(warnings)}</ul>'
    commands = [
        f"# {name}\n{run.audit.command}" for name, run in zip(names, runs, strict=True) if run.audit is not None
    ]
    if commands:
        text += "<details><summary>The exact commands behind these numbers</summary>"
        text += f"<pre>{escape(chr(10).join(commands))}</pre></details>"
    return text
