"""Accuracy against queries, from the clean images to what ten times the queries would break."""

from __future__ import annotations

import math

from markupsafe import Markup

from spikeproof.report.figures import FULL, figure
from spikeproof.report.numbers import percent
from spikeproof.report.records import Audit
from spikeproof.report.svg import Axis, ChartLine, legend, line_chart
from spikeproof.report.wording import further

CAPTION = (
    "What is still right as an attacker spends more queries on a sample, trial after trial; a gradient counts as "
    "three. An equal way to the right multiplies them equally. The dashed line is the forecast, its band the 95 % "
    "interval: a line that still falls at its end is no worst case yet."
)


def against_queries(audit: Audit) -> Markup | str:
    """The figure for one audit; "" where it had no search by queries."""
    search = audit.search
    if search is None:
        return ""
    points: list[tuple[int, int, str]] = []
    total, kept = 1, audit.samples
    for trial in audit.trials:
        if not trial.counts:
            continue
        if trial.name == search.trial:
            points += [(total + spent, right, f"{trial.name}, {spent} queries") for spent, right in search.curve[1:]]
        total += trial.queries
        if trial.name != search.trial:
            points.append((total, trial.left.correct, "clean" if trial.kind == "clean" else trial.name))
        kept = trial.left.correct
    measured = ChartLine(
        "measured",
        0,
        [math.log10(spent) for spent, _, _ in points],
        [right / audit.samples for _, right, _ in points],
        [f"{name}: {percent(right / audit.samples)} %" for _, right, name in points],
    )
    end = total + (search.times - 1) * search.queries
    less = [(kept - broken) / audit.samples for broken in (search.high, search.expected, search.low)]
    ends = [max(share, 0.0) for share in less]
    ahead = ChartLine(
        "forecast",
        1,
        [math.log10(total), math.log10(end)],
        [kept / audit.samples, ends[1]],
        [f"{kept} of {audit.samples} right", further(search, audit.samples)],
        dashed=True,
        band=([kept / audit.samples, ends[0]], [kept / audit.samples, ends[2]]),
    )
    powers = range(math.ceil(math.log10(end)) + 1)
    axis = Axis(
        0.0, math.log10(end), tuple((p, f"{10**p:,}") for p in powers if p <= math.log10(end)), "queries a sample"
    )
    chart = line_chart("Accuracy against queries", [measured, ahead], axis, FULL)
    key = legend([("measured", 0, False), ("forecast", 1, True)])
    return figure("Accuracy against queries", chart, f"{CAPTION} {further(search, audit.samples)}", key)
