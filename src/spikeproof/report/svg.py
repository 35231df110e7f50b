"""Small drawing functions that return inline SVG: line chart, histogram, grouped bars, and the HTML legend.

Colours come from the page's style sheet by class (`c0`..`c7`), so one drawing serves light, dark and print. A series
has a colour *and* a marker shape, a kind of trial a dash *and* a hollow marker. So nothing is told by colour alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440.0, 264.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 12.0, 44.0
MARKERS_PER_LINE = 10  # more would hide the line
NAME_LETTERS = 52
LARGEST = 1.15  # how far a chart may grow: beyond this its letters are larger than the text around it

LOOKS = (
    "M-3.8 0A3.8 3.8 0 1 0 3.8 0A3.8 3.8 0 1 0-3.8 0Z",
    "M-3.4-3.4H3.4V3.4H-3.4Z",
    "M0-4.6L4.3 3.2H-4.3Z",
    "M0-4.9L4.9 0L0 4.9L-4.9 0Z",
    "M0 4.6L4.3-3.2H-4.3Z",
    "M-1.5-4.4H1.5V-1.5H4.4V1.5H1.5V4.4H-1.5V1.5H-4.4V-1.5H-1.5Z",
    "M0-4.6L4.4-1.4L2.7 3.7H-2.7L-4.4-1.4Z",
    "M-4.6-2H4.6V2H-4.6Z",
)

Place = Callable[[float, float], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        low, high: the values at its ends.
        ticks: pairs of a value and the text that stands there.
        label: below an x axis; a y axis has none.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""


@dataclasses.dataclass(frozen=True)
class ChartLine:
    """One series of a line chart.

    Attributes:
        label: its name in the legend.
        look: the number of its colour and marker, from 0 (``look_class``, ``marker``).
        x, y: its points. A y that is not finite breaks the line.
        notes: a title for each point.
        dashed: whether the line is dashed and its markers are hollow.
        band: the lower and the upper ends of a confidence band, one of each for each point; None for no band.
    """

    label: str
    look: int
    x: Sequence[float]
    y: Sequence[float]
    notes: Sequence[str]
    dashed: bool = False
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of ``bars``.

    Attributes:
        label: on its left.
        value: its length, in [0, 1]; low, high: the ends of its whisker.
        text: on its right.
        style: its CSS class.
        ghost: to where a dashed outline continues it; None for no outline.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    style: str
    ghost: float | None = None


def look_class(look: int) -> str:
    """The CSS class of the colour of series number ``look`` (from 0)."""
    return f"c{look % len(LOOKS)}"


def marker(look: int) -> str:
    """The SVG path of the marker of series number ``look``. After all colours, shapes shift, so that pairs differ."""
    return LOOKS[(look + look // len(LOOKS)) % len(LOOKS)]


def round_steps(highest: float, smallest: float = 0.0) -> tuple[float, ...]:
    """Ticks from 0 to ``highest`` or a little above: equal round steps, at most six, none smaller than ``smallest``.

    Args:
        highest: taken as 1 where it is not finite or not above 0.
        smallest: a lower bound of the step.
    """
    highest = highest if math.isfinite(highest) and highest > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = max(smallest, next(power * m for m in (1, 2, 5, 10) if power * m >= highest / 5 * (1 - 1e-9)))
    return tuple(i * step for i in range(math.ceil(highest / step - 1e-9) + 1))


def amount_axis(highest: float, *, percent: bool = False) -> Axis:
    """A y axis from 0 to a round number not below ``highest``; with ``percent`` its ticks are written in percent."""
    steps = round_steps(highest)
    texts = (f"{100 * step:.3g} %" if percent else f"{step:.4g}" for step in steps)
    return Axis(0.0, steps[-1], tuple(zip(steps, texts, strict=True)))


def svg(title: str, width: float, height: float, parts: Sequence[str]) -> Markup:
    """The SVG element around ``parts``, which are SVG already; a screen reader reads out its title."""
    widest = f'style="max-width:{width * LARGEST:.0f}px"'
    head = f'<svg class="chart" role="img" viewBox="0 0 {width:g} {height:g}" {widest} aria-label="{escape(title)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def text(x: float, y: float, words: str, anchor: str = "middle", style: str = "tick") -> str:
    """One line of SVG text.

    Args:
        x, y: where it stands; y is its base line.
        words: are escaped.
        anchor: "start", "middle" or "end": which part of it stands at x.
        style: its CSS class.
    """
    return f'<text class="{style}" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{escape(words)}</text>'


def line_chart(
    title: str,
    lines: Sequence[ChartLine],
    x: Axis,
    y: Axis,
    *,
    guide: tuple[float, str] | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
) -> Markup:
    """Draw lines with their confidence bands.

    Args:
        title: what a screen reader reads out.
        lines: one or more.
        x, y: the axes.
        guide: where on the x axis an upright line stands, and the words beside it; None for no such line.
        size: width and height in units of the SVG.
    """

    width, height = size

    def at(across: float, up: float) -> tuple[float, float]:
        across = (across - x.low) / ((x.high - x.low) or 1.0)
        up = (up - y.low) / ((y.high - y.low) or 1.0)
        return LEFT + across * (width - LEFT - RIGHT), height - BOTTOM - up * (height - TOP - BOTTOM)

    parts = [_frame(x, y, at, size)]
    if guide is not None:
        gx, _ = at(guide[0], y.low)
        late = gx > width / 2
        parts.append(f'<path class="guide" d="M{gx:.2f} {TOP:.2f}V{height - BOTTOM:.2f}"/>')
        parts.append(text(gx + (-5 if late else 5), TOP + 9, guide[1], "end" if late else "start", "note"))
    for line in lines:
        if line.band is not None:
            low, high = ([at(*point) for point in zip(line.x, end, strict=True)] for end in line.band)
            outline = "L".join(f"{px:.2f} {py:.2f}" for px, py in low + high[::-1])
            parts.append(f'<path class="band {look_class(line.look)}" d="M{outline}Z"/>')
    parts.extend(_series(line, at) for line in lines)
    return svg(title, width, height, parts)


def _frame(x: Axis, y: Axis, at: Place, size: tuple[float, float]) -> str:
    parts = []
    floor, end = size[1] - BOTTOM, size[0] - RIGHT
    for value, words in y.ticks:
        _, py = at(x.low, value)
        parts.append(f'<path class="grid" d="M{LEFT:.2f} {py:.2f}H{end:.2f}"/>')
        parts.append(text(LEFT - 6, py + 4, words, "end"))
    for value, words in x.ticks:
        px, _ = at(value, y.low)
        parts.append(f'<path class="axis" d="M{px:.2f} {floor:.2f}v4"/>')
        parts.append(text(px, floor + 17, words))
    parts.append(f'<path class="axis" d="M{LEFT:.2f} {floor:.2f}H{end:.2f}"/>')
    parts.append(text((LEFT + end) / 2, size[1] - 6, x.label, style="label"))
    return "".join(parts)


def _series(line: ChartLine, at: Place) -> str:
    path, points, drawing = "", [], False
    for i, (px, py) in enumerate(zip(line.x, line.y, strict=True)):
        if not math.isfinite(py):
            drawing = False
            continue
        sx, sy = at(px, py)
        path += f"{'L' if drawing else 'M'}{sx:.2f} {sy:.2f}"
        drawing = True
        points.append((i, sx, sy))
    every = math.ceil(len(line.x) / MARKERS_PER_LINE)
    marks = "".join(
        f'<path class="mark" transform="translate({sx:.2f} {sy:.2f})" d="{marker(line.look)}">'
        f"<title>{escape(line.notes[i])}</title></path>"
        for i, sx, sy in points
        if i % every == line.look % every or len(points) == 1
    )
    dashed = " dashed" if line.dashed else ""
    return f'<g class="series {look_class(line.look)}{dashed}"><path class="line" d="{path}"/>{marks}</g>'


def legend(entries: Sequence[tuple[str, int | None, bool]]) -> Markup:
    """The legend as an HTML list.

    Args:
        entries: for each its label, its look (None for a line without colour and marker), and whether it is dashed.
    """
    items = []
    for label, look, dashed in entries:
        items.append(f"<li>{swatch(look, dashed=dashed)}{escape(label)}</li>")
    return Markup(f'<ul class="legend">{"".join(items)}</ul>')


def swatch(look: int | None, *, dashed: bool = False) -> Markup:
    """A short piece of a line as charts have it; hidden from screen readers, as words stand beside it.

    Args:
        look: of the line; None for one without colour and marker.
        dashed: whether the line is dashed.
    """
    mark = "" if look is None else f'<path class="mark" transform="translate(13 6)" d="{marker(look)}"/>'
    style = f"series {'ink' if look is None else look_class(look)}{' dashed' if dashed else ''}"
    return Markup(
        '<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">'
        f'<g class="{style}"><path class="line" d="M1 6H25"/>{mark}</g></svg>'
    )


def histogram(title: str, edges: Sequence[float], counts: Sequence[float], window: float) -> Markup:
    """The histogram of a site's margins, with a line at margin 0.

    Args:
        title: what a screen reader reads out.
        edges: increasing, one more than there are counts.
        counts: the heights of the bars are proportional to these.
        window: [-window, window] is shaded; in units of the margin.
    """
    width, left, right, top, base = 260.0, 6.0, 6.0, 8.0, 104.0
    first, last, tallest = edges[0], edges[-1], max(counts) or 1.0

    def across(value: float) -> float:
        return left + (min(max(value, first), last) - first) / (last - first) * (width - left - right)

    shade = across(-window), across(window)
    parts = [f'<rect class="window" x="{shade[0]:.2f}" y="{top:.2f}" width="{shade[1] - shade[0]:.2f}" height="96"/>']
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        height = (base - top) * count / tallest
        side = "fires" if low >= 0 else "below"
        parts.append(
            f'<rect class="bar {side}" x="{across(low):.2f}" y="{base - height:.2f}" '
            f'width="{across(high) - across(low):.2f}" height="{height:.2f}"/>'
        )
    for end in shade:
        parts.append(f'<path class="guide" d="M{end:.2f} {top:.2f}V{base:.2f}"/>')
    if first < 0 < last:
        parts.append(f'<path class="threshold" d="M{across(0):.2f} {top - 4:.2f}V{base:.2f}"/>')
    parts.append(f'<path class="axis" d="M{left:.2f} {base:.2f}H{width - right:.2f}"/>')
    parts.append(text(left, base + 14, f"{first:.3g}", "start"))
    if first < 0 < last:
        parts.append(text(across(0), base + 14, "0"))
    parts.append(text(width - right, base + 14, f"{last:.3g}", "end"))
    return svg(title, width, 122.0, parts)


def bars(title: str, groups: Sequence[tuple[str, int, Sequence[Bar]]]) -> Markup:
    """Groups of horizontal bars on one axis from 0 to 100 %.

    Args:
        title: what a screen reader reads out.
        groups: for each its name, its look, and its bars.
    """
    left, right, row, head, gap = 74.0, 92.0, 16.0, 20.0, 9.0
    scale = WIDTH - left - right
    height = sum(head + row * len(group[2]) + gap for group in groups) + 22
    parts = []
    for tick in range(0, 101, 25):
        x = left + scale * tick / 100
        parts.append(f'<path class="grid" d="M{x:.2f} 4V{height - 22:.2f}"/>{text(x, height - 6, f"{tick} %")}')
    y = 0.0
    for name, look, group in groups:
        parts.append(f'<path class="mark solid {look_class(look)}" transform="translate(8 {y + 10:.2f})" ')
        parts.append(f'd="{marker(look)}"/>{text(20, y + 14, _short(name), "start", "name")}')
        y += head
        for bar in group:
            parts.append(_bar(bar, look, left, y, scale))
            y += row
        y += gap
    return svg(title, WIDTH, height, parts)


def _short(name: str) -> str:
    """A name that fits on one line of the chart; the table has it in full."""
    return name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"


def _bar(bar: Bar, look: int, left: float, y: float, scale: float) -> str:
    middle, end = y + 7.5, left + scale * bar.value
    parts = [text(left - 6, middle + 4, bar.label, "end")]
    parts.append(f'<rect class="{bar.style} {look_class(look)}" x="{left:.2f}" y="{y + 1.5:.2f}" ')
    parts.append(f'width="{end - left:.2f}" height="12"/>')
    low, high = left + scale * bar.low, left + scale * bar.high
    if bar.ghost is not None:
        ghost = left + scale * bar.ghost
        parts.append(f'<rect class="ghost {look_class(look)}" x="{end:.2f}" y="{y + 1.5:.2f}" ')
        parts.append(f'width="{max(ghost - end, 0):.2f}" height="12"/>')
        end = max(end, ghost)
    parts.append(f'<path class="whisker" d="M{low:.2f} {middle:.2f}H{high:.2f}M{low:.2f} {middle - 3:.2f}v6')
    parts.append(f'M{high:.2f} {middle - 3:.2f}v6"/>')
    parts.append(text(max(high, end) + 6, middle + 4, bar.text, "start", "value"))
    return "".join(parts)
