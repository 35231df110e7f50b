"""Small drawing functions that return inline SVG: line chart, histogram, grouped bars, and the HTML legend.

Colours come from the page's style sheet by class (`c0`..`c7`), so light, dark and print need no second drawing. A
series has a colour *and* a marker shape, a kind of trial has a dash *and* a hollow marker: colour never tells alone.
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
LARGEST = 1.15  # a chart that grows further has louder letters than the text around it

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
    """One axis: its ends, where which text stands, and (below an x axis) its label."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Line:
    """One series. ``look`` picks colour and marker, ``band`` holds low and high ends, ``notes`` are point titles."""

    label: str
    look: int
    x: Sequence[float]
    y: Sequence[float]
    notes: Sequence[str]
    dashed: bool = False
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar in [0, 1] with its interval; ``style`` is a CSS class; a dashed outline goes on to ``ghost``."""

    label: str
    value: float
    low: float
    high: float
    text: str
    style: str
    ghost: float | None = None


def look_class(look: int) -> str:
    """The colour class of series number ``look``."""
    return f"c{look % len(LOOKS)}"


def marker(look: int) -> str:
    """The marker path of series number ``look``; after one round of colours the shapes shift, so pairs stay unique."""
    return LOOKS[(look + look // len(LOOKS)) % len(LOOKS)]


def round_steps(highest: float, smallest: float = 0.0) -> tuple[float, ...]:
    """0 and round steps up to at least ``highest``, at most six steps, none smaller than ``smallest``."""
    highest = highest if math.isfinite(highest) and highest > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = max(smallest, next(power * m for m in (1, 2, 5, 10) if power * m >= highest / 5 * (1 - 1e-9)))
    return tuple(i * step for i in range(math.ceil(highest / step - 1e-9) + 1))


def amount_axis(highest: float, *, percent: bool = False) -> Axis:
    """A y axis from 0 to a round number not below ``highest``."""
    steps = round_steps(highest)
    texts = (f"{100 * step:.3g} %" if percent else f"{step:.4g}" for step in steps)
    return Axis(0.0, steps[-1], tuple(zip(steps, texts, strict=True)))


def svg(title: str, width: float, height: float, parts: Sequence[str]) -> Markup:
    """The SVG element around ``parts``; its title is what a screen reader says."""
    widest = f'style="max-width:{width * LARGEST:.0f}px"'
    head = f'<svg class="chart" role="img" viewBox="0 0 {width:g} {height:g}" {widest} aria-label="{escape(title)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def text(x: float, y: float, words: str, anchor: str = "middle", style: str = "tick") -> str:
    """One line of text."""
    return f'<text class="{style}" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{escape(words)}</text>'


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    guide: tuple[float, str] | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
) -> Markup:
    """Lines with optional confidence bands; ``guide`` is one upright line with words beside it.

    A value that is not finite breaks its line; nothing is drawn in its place.
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


def _series(line: Line, at: Place) -> str:
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
    """An HTML list of (label, look, dashed); look None is an ink line that stands for a dash alone."""
    items = []
    for label, look, dashed in entries:
        items.append(f"<li>{swatch(look, dashed=dashed)}{escape(label)}</li>")
    return Markup(f'<ul class="legend">{"".join(items)}</ul>')


def swatch(look: int | None, *, dashed: bool = False) -> Markup:
    """A short piece of a series, as it looks in the charts; it repeats what the words beside it say."""
    mark = "" if look is None else f'<path class="mark" transform="translate(13 6)" d="{marker(look)}"/>'
    style = f"series {'ink' if look is None else look_class(look)}{' dashed' if dashed else ''}"
    return Markup(
        '<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">'
        f'<g class="{style}"><path class="line" d="M1 6H25"/>{mark}</g></svg>'
    )


def histogram(title: str, edges: Sequence[float], counts: Sequence[float], window: float) -> Markup:
    """Bars over ``edges`` with heights proportional to ``counts``, [-window, window] shaded, a line at margin 0."""
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
    """Grouped lying bars on one axis from 0 to 100 %: groups of (name, look, bars), with interval whiskers."""
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
