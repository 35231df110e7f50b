"""Who breaks what: from the clean errors down to the worst case, one row per trial in the order of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spikeproof.report.figures import figure
from spikeproof.report.records import Audit, Trial
from spikeproof.report.svg import look_class
from spikeproof.report.wording import interval, percent, worst_case, worst_interval

ACROSS, TALL = 400.0, 12.0  # the units of a bar; the page stretches it to its column
LOOK_OF_KIND = {"clean": 6, "protocol": 0, "fixed": 2, "adaptive": 1, "black-box": 3, "noise": 4}
HEADS = ("Trial", "0 to 100 % of the samples", "Newly broken", "Attacked", "Left", "Own accuracy", "Seconds")
CAPTION = (
    "Read from above: each dark bar is what a trial newly broke, the samples that were right before it and are wrong "
    "after it; the pale bar beside it is what it left to the next, and the last row is the worst case. A long bar of "
    "an adaptive or a black-box trial is what the protocol attack could not see. A short one need not be a weak "
    "attack: what was broken before does not count again."
)
ONLY_LEFT = " Without an accuracy of its own (–) a trial attacked only what the ones before it left."
UNBOUNDED = " Trials that are judged at any L2 distance are no part of the worst case and take no bar."


def waterfall(audit: Audit) -> str:
    """The figure of one audit: a table with a bar in each row, so that every number is text."""
    before, rows = audit.samples, []
    for trial in audit.trials:
        rows.append(_row(trial, before, audit.samples))
        before = trial.left.correct
    heads = "".join(f'<th role="columnheader" scope="col">{words}</th>' for words in HEADS)
    worst = audit.worst_case
    last = _bar(audit.samples, 0, worst.correct, worst.correct, "worst", 6)
    rows.append(
        f'<tr role="row" class="end"><th role="rowheader" scope="row">Worst case</th>{last}'
        f"{_cell('Newly broken', '')}{_cell('Attacked', '')}{_cell('Left', worst_case(audit), worst_interval(audit))}"
        f"{_cell('Own accuracy', '')}{_cell('Seconds', f'{sum(trial.seconds for trial in audit.trials):.1f}')}</tr>"
    )
    table = (
        '<table class="waterfall" role="table" aria-label="What each trial newly broke"><thead role="rowgroup">'
        f'<tr role="row">{heads}</tr></thead><tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )
    return figure("Who breaks what", table, CAPTION + _marks(audit.trials), style="wide")


def _marks(trials: Sequence[Trial]) -> str:
    only_left = any(trial.own is None for trial in trials)
    return (ONLY_LEFT if only_left else "") + ("" if all(trial.counts for trial in trials) else UNBOUNDED)


def _row(trial: Trial, before: int, samples: int) -> str:
    clean = trial.kind == "clean"
    name = "Clean errors" if clean else trial.name
    kind = "before any attack" if clean else trial.kind if trial.counts else f"{trial.kind}, any L2 distance"
    share = percent(trial.newly_broken / samples)
    left = trial.left.correct
    if trial.counts:
        bar = _bar(samples, left, trial.newly_broken, left, "new", LOOK_OF_KIND.get(trial.kind, 5))
        taken = _cell("Newly broken", str(trial.newly_broken), f"{share} %")
    else:
        bar, taken = '<td role="cell" class="bar-cell none">no part of the worst case</td>', _cell("Newly broken", "–")
    if clean:
        cells = _cell("Attacked", "–") + _left(trial) + _cell("Own accuracy", "–") + _cell("Seconds", "–")
    else:
        own = "–" if trial.own is None else percent(trial.own.accuracy)
        cells = (
            _cell("Attacked", str(trial.attempted), f"broke {trial.broken}")
            + _left(trial)
            + _cell("Own accuracy", own, "" if trial.own is None else interval(trial.own))
            + _cell("Seconds", f"{trial.seconds:.1f}")
        )
    title = (
        f"{name}: {before} right before, {trial.newly_broken} newly broken, {left} left; attack: {trial.attack}; "
        f"gradient source: {trial.source}"
    )
    return (
        f'<tr role="row" title="{escape(title)}"><th role="rowheader" scope="row">{escape(name)}'
        f'<span class="conditions">{escape(kind)}</span></th>{bar}{taken}{cells}</tr>'
    )


def _left(trial: Trial) -> str:
    return _cell("Left", percent(trial.left.accuracy), interval(trial.left))


def _bar(samples: int, start: int, length: int, left: int, style: str, look: int) -> str:
    """What is left, pale, from the left end, and over it ``length`` samples from ``start`` on."""
    unit = ACROSS / samples
    pale = f'<rect class="left" x="0" y="3" width="{unit * left:.3f}" height="6"/>'
    dark = (
        f'<rect class="{style} {look_class(look)}" x="{unit * start:.3f}" y="0" width="{unit * length:.3f}" '
        f'height="{TALL:g}"/>'
    )
    return (
        f'<td role="cell" class="bar-cell"><svg viewBox="0 0 {ACROSS:g} {TALL:g}" preserveAspectRatio="none" '
        f'aria-hidden="true">{pale}{dark}</svg></td>'
    )


def _cell(label: str, value: str, small: str = "") -> str:
    extra = f"<small>{escape(small)}</small>" if small else ""
    return f'<td role="cell" data-label="{escape(label)}"><span>{escape(value)}</span>{extra}</td>'
