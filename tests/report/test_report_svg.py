"""The drawings show the numbers: bars in proportion, lines where the axis says, gaps where there is nothing."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from spikeproof.report.svg import (
    HEIGHT,
    LOOKS,
    Axis,
    Bar,
    ChartLine,
    amount_axis,
    bars,
    histogram,
    legend,
    line_chart,
    look_class,
    marker,
    round_steps,
)

UNIT = Axis(0.0, 1.0, ((0.0, "0"), (1.0, "1")))


def rects(svg: str, style: str) -> list[dict[str, float]]:
    found = [node for node in ElementTree.fromstring(svg).iter("rect") if style in node.attrib["class"].split()]
    return [{key: float(node.attrib[key]) for key in ("x", "y", "width", "height")} for node in found]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]


def test_histogram_heights_are_proportional_to_counts() -> None:
    counts = [0, 3, 12, 48, 24, 6]
    drawn = rects(histogram("h", [-3, -2, -1, 0, 1, 2, 3], counts, 1.0), "bar")
    unit = drawn[3]["height"] / 48
    assert [bar["height"] for bar in drawn] == pytest.approx([unit * count for count in counts], abs=0.011)
    floor = {round(bar["y"] + bar["height"], 1) for bar in drawn}
    assert len(floor) == 1


def test_histogram_shades_exactly_the_window_and_colours_what_fires() -> None:
    svg = histogram("h", [-3, -2, -1, 0, 1, 2, 3], [1, 1, 1, 1, 1, 1], 2.0)
    (window,), drawn = rects(svg, "window"), rects(svg, "bar")
    assert window["x"] == pytest.approx(drawn[1]["x"], abs=0.011)
    assert window["x"] + window["width"] == pytest.approx(drawn[5]["x"], abs=0.011)
    assert len(rects(svg, "fires")) == 3 and len(rects(svg, "below")) == 3


def test_histogram_of_a_silent_site_and_of_a_wide_window() -> None:
    svg = histogram("h", [1, 2, 3], [0, 0], 9.0)
    assert [bar["height"] for bar in rects(svg, "bar")] == [0, 0]
    (window,) = rects(svg, "window")
    assert window["width"] == pytest.approx(sum(bar["width"] for bar in rects(svg, "bar")), abs=0.02)


def test_line_goes_where_the_axis_says_and_breaks_at_nan() -> None:
    line = ChartLine("a", 0, [0.0, 0.5, 0.75, 1.0], [0.0, 1.0, math.nan, 0.5], ["p", "q", "r", "s"])
    svg = line_chart("t", [line], UNIT, UNIT)
    (path,) = re.findall(r'class="line" d="([^"]*)"', svg)
    assert path.count("M") == 2 and "nan" not in svg
    first, top, last = points(path)
    assert first[1] - top[1] == pytest.approx(2 * (first[1] - last[1]), abs=0.02)
    assert top[0] - first[0] == pytest.approx((last[0] - first[0]) / 2, abs=0.02)
    titles = [node.text for node in ElementTree.fromstring(svg).iter("title")]
    assert titles == ["p", "q", "s"]


def test_band_runs_along_low_and_back_along_high() -> None:
    line = ChartLine("a", 2, [0.0, 1.0], [0.5, 0.5], ["", ""], band=([0.25, 0.0], [0.75, 1.0]))
    svg = line_chart("t", [line], UNIT, UNIT)
    (outline,) = re.findall(r'class="band c2" d="([^"]*)Z"', svg)
    low_left, low_right, high_right, high_left = points(outline)
    assert low_left[0] == high_left[0] and low_right[0] == high_right[0]
    assert (low_left[1] - high_left[1]) * 2 == pytest.approx(low_right[1] - high_right[1], abs=0.02)
    assert low_right[1] < HEIGHT


def test_bars_and_their_ghost() -> None:
    group = [
        Bar("protocol", 0.8, 0.7, 0.9, "80.0", "protocol"),
        Bar("worst", 0.2, 0.1, 0.3, "20.0", "worst", ghost=0.8),
    ]
    svg = bars("t", [("run", 1, group)])
    (protocol,), (worst,), (ghost,) = rects(svg, "protocol"), rects(svg, "worst"), rects(svg, "ghost")
    assert protocol["width"] == pytest.approx(4 * worst["width"], abs=0.05)
    assert worst["width"] + ghost["width"] == pytest.approx(protocol["width"], abs=0.03)
    assert ghost["x"] == pytest.approx(worst["x"] + worst["width"], abs=0.02)


def test_a_dashed_line_is_dashed_in_the_chart_and_in_the_legend() -> None:
    for dashed in (False, True):
        line = ChartLine("a", 0, [0.0, 1.0], [0.0, 1.0], ["", ""], dashed=dashed)
        assert ("dashed" in line_chart("t", [line], UNIT, UNIT)) == dashed
        assert ("dashed" in legend([("a", 0, dashed)])) == dashed


def test_colour_and_marker_together_are_unique() -> None:
    pairs = {(look_class(look), marker(look)) for look in range(len(LOOKS) ** 2)}
    assert len(pairs) == len(LOOKS) ** 2


def test_words_are_escaped() -> None:
    line = ChartLine("<a>", 0, [0.0], [0.0], ["<p>"])
    drawn = [
        line_chart("<t>", [line], UNIT, UNIT, guide=(0.5, "<g>")),
        legend([("<a>", 0, False)]),
        bars("<t>", [("<r>", 0, [Bar("<b>", 0.5, 0.4, 0.6, "<v>", "worst")])]),
        histogram("<t>", [0, 1], [1], 1.0),
    ]
    for svg in drawn:
        assert not re.search("<[tapgrbv]>", svg)
        ElementTree.fromstring(svg)


@pytest.mark.parametrize("highest", [1e-4, 0.3, 0.41, 1.0, 7.0, 39.0, 1234.0, 0.0, math.inf])
def test_round_steps_reach_the_highest_in_few_steps(highest: float) -> None:
    steps = round_steps(highest)
    target = highest if 0 < highest < math.inf else 1.0
    assert steps[0] == 0 and steps[-2] < target <= steps[-1] * (1 + 1e-9)
    assert 2 <= len(steps) <= 7
    assert amount_axis(highest).high == steps[-1]


def test_whole_steps() -> None:
    assert round_steps(3, smallest=1.0) == (0.0, 1.0, 2.0, 3.0)
