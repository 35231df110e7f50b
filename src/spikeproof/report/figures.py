"""What all figures of the page share: the frame with its caption, and lines by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.report.press import macro
from spikeproof.report.svg import Axis, ChartLine, round_steps

FULL = Axis(0.0, 1.0, tuple((tick / 100, f"{tick} %") for tick in range(0, 101, 20)))
THIRD = (340.0, 230.0)  # the size of a chart that has two others in its row


def figure(heading: str, chart: Markup, caption: str, key: Markup | str = "", style: str = "") -> Markup:
    """One figure as HTML.

    Args:
        heading: above the chart.
        chart: from ``spikeproof.report.svg``.
        caption: sentences that say what the chart shows and how to read it.
        key: the legend, from ``legend``; "" for none.
        style: a further CSS class of the figure; "" for none.
    """
    return macro("figure", heading, caption, chart, key, style)


def panels(heading: str, key: Markup | str, shown: Sequence[tuple[str, Markup, str]]) -> Markup:
    """One figure of several charts that share a legend.

    Args:
        heading: above all charts.
        key: the legend, from ``legend``; "" for none.
        shown: for each chart its heading, the chart, and a sentence that says how to read it.
    """
    return macro("panels", heading, key, shown)


def highest(lines: Sequence[ChartLine]) -> float:
    """The largest finite value of any line, or 1 where there is none."""
    return max((y for line in lines for y in line.y if math.isfinite(y)), default=1.0)


def epoch_line(name: str, look: int, points: Sequence[tuple[int, float]]) -> ChartLine:
    """The line of a quantity by epoch.

    Args:
        name: of the line, in the legend and in the points' titles.
        look: which colour and marker it has (``look_class``).
        points: pairs of epoch and value. A value that is not finite leaves a gap.
    """
    return ChartLine(
        name,
        look,
        [epoch for epoch, _ in points],
        [y for _, y in points],
        [f"{name}, epoch {epoch}: {y:.4g}" for epoch, y in points],
    )


def epoch_axis(lines: Sequence[ChartLine]) -> Axis:
    """An x axis from epoch 0 to the last epoch of any line, with ticks at whole epochs."""
    last = max(max(line.x) for line in lines)
    ticks = tuple((step, f"{step:g}") for step in round_steps(last, smallest=1.0) if step <= last)
    return Axis(0.0, max(last, 1.0), ticks, "epoch")
