"""The result table as HTML, and below it a table of every trial of every run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spikeproof.report.picks import (
    STRONGEST,
    clean_of,
    heading,
    is_headline,
    protocol_columns,
    strongest_other,
    trial_named,
)
from spikeproof.report.records import Audit, Counted, Run, Trial
from spikeproof.report.svg import swatch
from spikeproof.report.wording import (
    checks_text,
    conditions,
    differing,
    doubts,
    interval,
    labels,
    listed,
    masking_gap,
    percent,
    unlike,
    unlike_sentence,
    worst_case,
    worst_interval,
)

NOT_RUN = '<span title="this trial was not run">–</span>'


def html_table(runs: Sequence[Run]) -> str:
    """The result table as HTML, with what must be said about its conditions above it and its warnings below."""
    shown, differ, names = protocol_columns(runs), differing(runs), labels(runs)
    heads = ["Run", "Clean", *(heading(name, runs) for name in shown), STRONGEST, "Worst case", "Masking gap"]
    titles = "".join(_column(words) for words in [*heads, "Red flags"])
    protocol = f'<th role="columnheader" scope="colgroup" colspan="{len(shown)}">Protocol attacks</th>' if shown else ""
    body = "".join(_row(i, names[i], run, runs, shown, differ) for i, run in enumerate(runs))
    return (
        f'{_shared(runs, differ)}<table class="results" role="table"><thead role="rowgroup">'
        f'<tr role="row" class="groups"><td></td><td></td>{protocol}<td></td>'
        '<th role="columnheader" scope="colgroup" colspan="2">All attacks together</th><td></td></tr>'
        f'<tr role="row">{titles}</tr></thead><tbody role="rowgroup">{body}</tbody></table>{_below(runs, names)}'
    )


def _column(words: str) -> str:
    return f'<th role="columnheader" scope="col">{escape(words)}</th>'


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


def _row(index: int, name: str, run: Run, runs: Sequence[Run], shown: Sequence[str], differ: Sequence[str]) -> str:
    audit = run.audit
    head = f'{swatch(index)}<a href="#run-{index + 1}">{escape(name)}</a>'
    if audit is None:
        words = "not audited yet: run <code>spikeproof audit</code>"
        rest = f'<td role="cell" class="wide" colspan="{len(shown) + 5}">{words}</td>'
        return f'<tr role="row"><th role="rowheader" scope="row">{head}</th>{rest}</tr>'
    if differ:
        stated = conditions(audit)
        head += f'<span class="conditions">{" · ".join(escape(stated[each]) for each in differ)}</span>'
    clean = clean_of(audit)
    cells = [_cell("Clean", "–", "", "") if clean is None else _cell("Clean", *_accuracy(clean))]
    for each in shown:
        cells.append(trial_cell(heading(each, runs), audit, trial_named(audit, each)))
    cells.append(_strongest(audit))
    worst = audit.worst_case
    title = f"right under every attack of the audit; 95 % interval {interval(worst)} %"
    cells.append(_cell("Worst case", worst_case(audit), worst_interval(audit), audit.no_number or title, "worst"))
    title = f"protocol {percent(audit.protocol.accuracy)} % minus worst case {percent(worst.accuracy)} %"
    small = "points" if audit.has_adaptive else "no adaptive attack"
    cells.append(_cell("Masking gap", masking_gap(audit), small, title, "gap"))
    title = "; ".join(flag.name for flag in audit.raised) or ("no check raised one" if audit.flags else "")
    mark = '<span aria-hidden="true">⚑</span> ' if audit.raised else ""
    small = "checks" if audit.flags else "no diagnostics"
    cells.append(_cell("Red flags", mark + checks_text(audit), small, title, "flagged" if audit.raised else ""))
    return f'<tr role="row"><th role="rowheader" scope="row">{head}</th>{"".join(cells)}</tr>'


def _accuracy(counted: Counted) -> tuple[str, str, str]:
    """What a cell shows of an accuracy: value, small print and title."""
    title = f"{counted.correct} of {counted.samples} right; 95 % interval {interval(counted)} %"
    return percent(counted.accuracy), interval(counted), title


def trial_cell(label: str, audit: Audit, trial: Trial | None) -> str:
    """A trial's own accuracy, or, marked by a sign, what it newly broke of what the trials before it left."""
    if trial is None:
        return _cell(label, NOT_RUN, "", "")
    how = f"; attack: {trial.attack}; gradient source: {trial.source}"
    if trial.own is None:
        title = f"newly broke {trial.newly_broken} of the {trial.attempted} samples that the trials before it left"
        return _cell(label, f"−{percent(trial.newly_broken / audit.samples)}", "newly broken", title + how)
    value, small, title = _accuracy(trial.own)
    if not trial.counts:
        title += "; judged at any L2 distance, so no part of the worst case"
    if not is_headline(audit, trial):
        return _cell(label, value, small, title + how)
    value += ' <abbr class="star" title="the protocol accuracy of this run">*</abbr>'
    return _cell(label, value, small, title + how, "protocol")


def _strongest(audit: Audit) -> str:
    trial = strongest_other(audit)
    if trial is None:
        return _cell(STRONGEST, NOT_RUN, "", "")
    words = f"{trial.kind}; {trial.broken} of {trial.attempted} attacked samples broken, {trial.newly_broken} newly"
    if trial.own is not None:
        return _cell(STRONGEST, percent(trial.own.accuracy), trial.name, words)
    return _cell(STRONGEST, f"−{percent(trial.newly_broken / audit.samples)}", trial.name, words)


def _cell(label: str, value: str, small: str, title: str, style: str = "") -> str:
    return (
        f'<td role="cell" class="{style}" data-label="{escape(label)}" title="{escape(title)}">'
        f"<span>{value}</span><small>{escape(small)}</small></td>"
    )


def _below(runs: Sequence[Run], names: Sequence[str]) -> str:
    text = (
        '<p class="caption">Accuracy in percent, with its 95 % Wilson interval below. <b>*</b> marks the protocol '
        f"accuracy. {STRONGEST}: of the trials beyond the protocol, the one that takes most; a minus sign counts what "
        "it newly broke where it attacked only what was left, which is no accuracy of its own. Worst case: right under "
        "<em>every</em> attack of the audit. Masking gap = protocol − worst case: the part of the protocol accuracy "
        "that only a fixed-surrogate attack fails to take.</p>"
        if any(run.audit for run in runs)
        else ""
    )
    audited = [(name, run.audit) for name, run in zip(names, runs, strict=True) if run.audit is not None]
    warnings = [f"<li><b>{escape(listed(about))}</b>: {escape(said)}</li>" for about, said in doubts(audited)]
    if warnings:
        text += f'<ul class="warning" id="doubts" aria-label="Warnings">{"".join(warnings)}</ul>'
    quiet = [name for name, audit in audited if audit.flags and not audit.raised]
    if quiet:
        text += f'<p class="caption">No red flag in any check: <b>{escape(listed(quiet))}</b>.</p>'
    if len(audited) > 1:
        text += _every_trial(audited)
    if audited:
        commands = "\n".join(f"# {name}\n{audit.command}" for name, audit in audited)
        text += "<details><summary>The exact commands behind these numbers</summary>"
        text += f"<pre>{escape(commands)}</pre></details>"
    return text


def _kind(trial: Trial) -> str:
    return trial.kind if trial.counts else f"{trial.kind}, any L2 distance"


def _every_trial(audited: Sequence[tuple[str, Audit]]) -> str:
    """One row per trial, one column per run: it stays readable with fifty trials."""
    found = dict.fromkeys(
        (_kind(trial), trial.name)
        for wanted in (("clean",), ("protocol",), None)
        for _, audit in audited
        for trial in audit.trials
        if wanted is None or trial.kind in wanted
    )
    rows = "".join(
        f'<tr role="row"><th role="rowheader" scope="row">{escape(trial)}<span class="conditions">{escape(kind)}'
        f"</span></th>{''.join(trial_cell(name, audit, trial_named(audit, trial)) for name, audit in audited)}</tr>"
        for kind, trial in found
    )
    heads = "".join(_column(words) for words in ("Trial", *(name for name, _ in audited)))
    return (
        '<details><summary>Every trial of every run</summary><table role="table"><thead role="rowgroup">'
        f'<tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table></details>'
    )
