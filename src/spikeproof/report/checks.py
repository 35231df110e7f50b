"""Whether an audit's numbers can be believed: every check with what it measured, and how the attacks were set."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from spikeproof.report.figures import figure
from spikeproof.report.records import Audit, Flag
from spikeproof.report.wording import UNCHECKED, listed, percent

HEADS = ("Check", "Red flag", "Measured", "Raised", "What to do")
CAPTION = (
    "Each row looks for one way in which attacks fail though the network is not robust. A raised flag says that the "
    "accuracies above may be too high and what to do; no flag says only that these ways were not seen."
)


def checks(audit: Audit) -> str:
    """The figure of all flags, raised ones first, with the line on tuning below."""
    if not audit.flags:
        table = f'<p class="warning"><span aria-hidden="true">⚠</span> {UNCHECKED}</p>'
        return figure("Red flags: not checked", table, escape(tuning_line(audit)), style="wide")
    heads = "".join(f'<th role="columnheader" scope="col">{words}</th>' for words in HEADS)
    rows = "".join(_row(flag) for flag in sorted(audit.flags, key=lambda flag: not flag.raised))
    table = (
        '<table class="checks" role="table" aria-label="Every check of these numbers"><thead role="rowgroup">'
        f'<tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
    )
    count = f"{len(audit.raised)} of {len(audit.flags)} checks raised one" if audit.raised else "none raised"
    return figure(f"Red flags: {count}", table, f"{CAPTION} {escape(tuning_line(audit))}", style="wide")


def _row(flag: Flag) -> str:
    state = (
        '<span aria-hidden="true">⚑</span> raised' if flag.raised else '<span aria-hidden="true">✓</span> not raised'
    )
    cells = (state, escape(flag.value), escape(flag.threshold), escape(flag.advice) if flag.raised else "–")
    named = "".join(
        f'<td role="cell" data-label="{label}"><span>{words}</span></td>'
        for label, words in zip(HEADS[1:], cells, strict=True)
    )
    style = "raised" if flag.raised else "quiet"
    return f'<tr role="row" class="{style}"><th role="rowheader" scope="row">{escape(flag.name)}</th>{named}</tr>'


def tuning_line(audit: Audit) -> str:
    """Which settings of the attacks validation samples decided, or that defaults were taken."""
    tuning = audit.tuning
    written = {name: f"{tuning.labels.get(name, name)} = {value:g}" for name, value in tuning.chosen.items()}
    defaults = [words for name, words in written.items() if name not in tuning.tried]
    if tuning.samples == 0:
        return f"No setting of the attacks was tuned: defaults were taken ({listed(defaults)})."
    searched = [f"{words} ({_spread(tuning.tried[name])})" for name, words in written.items() if name in tuning.tried]
    if not searched:
        return "No trial has a setting to tune."
    rest = f"; {listed(defaults)} by default, as no trial uses it" if defaults else ""
    return f"Chosen on {tuning.samples} validation samples, none of them audited: {listed(searched)}{rest}."


def _spread(tried: Mapping[str, float]) -> str:
    """5 values tried left from 12.0 to 15.0 %."""
    return f"{len(tried)} values tried left from {percent(min(tried.values()))} to {percent(max(tried.values()))} %"
