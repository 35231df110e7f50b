"""Accuracy against radius, for many runs and for the trials of one run, and against steps for the trials of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.report.figures import FULL, figure
from spikeproof.report.numbers import NORMS, eps_text, interval, listed, percent
from spikeproof.report.records import Audit, SavedRun, StepPoint, SweepPoint
from spikeproof.report.svg import HEIGHT, WIDTH, Axis, ChartLine, legend, line_chart, round_steps
from spikeproof.report.wording import labels, unlike_sentence

LEAST_GAP = 0.08  # the least distance of two ticks on the axis of steps, as a share of the axis
RADII_WRITTEN = 8  # with more radii than this the ticks are round numbers instead of the radii themselves


def _radius_axis(norm: str, points: Sequence[SweepPoint]) -> Axis:
    """An x axis from radius 0 over all radii of ``points``; L-infinity radii are counted in 255ths."""
    unit = 255.0 if norm == "linf" else 1.0
    radii = sorted({round(point.eps * unit, 2) for point in points})
    steps = radii if len(radii) <= RADII_WRITTEN else round_steps(radii[-1])
    label = f"radius ({NORMS.get(norm, norm)}{', in 255ths' if norm == 'linf' else ''})"
    ticks = dict.fromkeys([0.0, *steps])
    return Axis(0.0, max(radii[-1], steps[-1]) / unit, tuple((step / unit, f"{step:.3g}") for step in ticks), label)


def _sweep_line(name: str, look: int, points: Sequence[SweepPoint], norm: str, *, band: bool) -> ChartLine:
    """One line through ``points``, in order of radius; dashed where they are adaptive."""
    points = sorted(points, key=lambda point: point.eps)
    return ChartLine(
        label=name,
        look=look,
        x=[point.eps for point in points],
        y=[point.accuracy for point in points],
        notes=[
            f"{name}: {point.trial} ({point.kind}) at {eps_text(norm, point.eps)}: {percent(point.accuracy)} % "
            f"({interval(point)}), n = {point.samples}"
            for point in points
        ],
        dashed=points[0].kind == "adaptive",
        band=([point.low for point in points], [point.high for point in points]) if band else None,
    )


def sweeps_of_runs(runs: Sequence[SavedRun]) -> list[Markup]:
    """Accuracy against radius, one line a run and kind of trial: a figure for each norm, as radii differ between norms.

    Args:
        runs: those without an audit, or whose audit has no sweep, are left out.
    """
    named = list(enumerate(zip(labels(runs), runs, strict=True)))
    swept = [(look, name, run.audit) for look, (name, run) in named if run.audit is not None and run.audit.sweep]
    figures = []
    for norm in dict.fromkeys(audit.norm for _, _, audit in swept):
        lines: list[ChartLine] = []
        key: list[tuple[str, int | None, bool]] = []
        shown: list[SweepPoint] = []
        for look, name, audit in swept:
            if audit.norm != norm:
                continue
            key.append((name, look, False))
            for kind in ("protocol", "adaptive"):
                lowest = _lowest([point for point in audit.sweep if point.kind == kind])
                shown += lowest
                if lowest:
                    lines.append(_sweep_line(name, look, lowest, norm, band=False))
        if not lines:
            continue
        sizes = sorted({point.samples for point in shown})
        caption = (
            "Accuracy as the radius grows, the lowest trial of the protocol solid, the lowest adaptive trial dashed. "
            "A dashed line below its solid one is masking; a line that never nears 0 % betrays a failing attack. n = "
            f"{listed([str(size) for size in sizes])} per point; intervals are in each run's own figure. "
            f"{unlike_sentence(runs)}"
        )
        key += [("protocol", None, False), ("adaptive", None, True)]
        chart = line_chart(
            "Accuracy against radius, one line per run",
            lines,
            _radius_axis(norm, shown),
            FULL,
            guide=_guide([audit for _, _, audit in swept if audit.norm == norm], shown),
            size=(WIDTH, min(HEIGHT + 30 * max(0, len(runs) - 2), 390.0)),
        )
        figures.append(figure("Accuracy against radius", chart, caption, legend(key)))
    return figures


def _lowest(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    radii = sorted({point.eps for point in points})
    return [min((each for each in points if each.eps == eps), key=lambda each: each.accuracy) for eps in radii]


def _guide(audits: Sequence[Audit], points: Sequence[SweepPoint]) -> tuple[float, str] | None:
    """The audited radius, if all audits have the same one and it lies on the axis."""
    radii = {eps_text(audit.norm, audit.eps): audit.eps for audit in audits}
    (words, eps), *others = radii.items()
    fits = not others and eps <= max(point.eps for point in points)
    return (eps, f"audited at {words}") if fits else None


def sweep_of_trials(audit: Audit) -> Markup | str:
    """Accuracy against radius for one audit, each trial a line with its 95 % band; "" where it has no sweep."""
    if not audit.sweep:
        return ""
    names = list(dict.fromkeys((point.kind, point.trial) for point in audit.sweep))
    lines = [
        _sweep_line(trial, look, [p for p in audit.sweep if (p.kind, p.trial) == (kind, trial)], audit.norm, band=True)
        for look, (kind, trial) in enumerate(names)
    ]
    key = legend(
        [(f"{line.label} ({kind})", line.look, line.dashed) for line, (kind, _) in zip(lines, names, strict=True)]
    )
    guide = _guide([audit], audit.sweep)
    chart = line_chart(
        "Accuracy against radius, one line per trial",
        lines,
        _radius_axis(audit.norm, audit.sweep),
        FULL,
        guide=guide,
    )
    caption = (
        "Accuracy under each trial as the radius grows, with its 95 % band: solid is the protocol, dashed is "
        f"adaptive.{' The dotted line marks the eps of the table.' if guide else ''}"
    )
    return figure("Accuracy against radius", chart, caption, key)


def steps_of_trials(audit: Audit) -> Markup | str:
    """Accuracy against steps for one audit, each attack a line with its 95 % band; "" where it has no such sweep."""
    if not audit.step_sweep:
        return ""
    families: dict[tuple[str, str], list[StepPoint]] = {}
    for point in sorted(audit.step_sweep, key=lambda point: point.steps):
        families.setdefault((point.kind, _without_steps(point)), []).append(point)
    lines = [
        ChartLine(
            label=name,
            look=look,
            x=[math.log2(point.steps) for point in points],
            y=[point.accuracy for point in points],
            notes=[
                f"{point.trial} ({kind}): {percent(point.accuracy)} % ({interval(point)}), n = {point.samples}"
                for point in points
            ],
            dashed=kind == "adaptive",
            band=([point.low for point in points], [point.high for point in points]),
        )
        for look, ((kind, name), points) in enumerate(families.items())
    ]
    key = legend(
        [(f"{name} ({kind})", line.look, line.dashed) for line, (kind, name) in zip(lines, families, strict=True)]
    )
    chart = line_chart("Accuracy against steps, one line per attack", lines, _step_axis(audit.step_sweep), FULL)
    sizes = listed([str(size) for size in sorted({point.samples for point in audit.step_sweep})])
    caption = (
        f"Accuracy at {eps_text(audit.norm, audit.eps)} as an attack takes more steps (an equal way to the right "
        "multiplies them equally), with its 95 % band: solid is the protocol, dashed is adaptive. A line that still "
        "falls at its end belongs to an attack that has not converged, and one that rises to an attack that is caught. "
        f"n = {sizes} per point."
    )
    return figure("Accuracy against steps", chart, caption, key)


def _without_steps(point: StepPoint) -> str:
    """The trial's name without its steps: SA-PGD-100@ASSG with 100 steps is a point of SA-PGD@ASSG."""
    return point.trial.replace(f"-{point.steps}", "", 1)


def _step_axis(points: Sequence[StepPoint]) -> Axis:
    """A logarithmic x axis over the numbers of steps. Of two ticks that would touch, only the first is written."""
    numbers = sorted({point.steps for point in points})
    low, high = math.log2(numbers[0]), math.log2(numbers[-1])
    room = max(high - low, 1.0) * LEAST_GAP
    ticks: list[tuple[float, str]] = []
    for number in numbers:
        if not ticks or math.log2(number) - ticks[-1][0] >= room:
            ticks.append((math.log2(number), str(number)))
    margin = 0.0 if high > low else 0.5
    return Axis(low - margin, high + margin, tuple(ticks), "steps (logarithmic)")
