"""The second part of the page: one folded section per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.report.certified import certified_sentence
from spikeproof.report.checks import checks
from spikeproof.report.figures import THIRD, epoch_axis, epoch_line, highest, panels
from spikeproof.report.network import network_sentences
from spikeproof.report.pictures import html_pictures
from spikeproof.report.press import html
from spikeproof.report.queries import against_queries
from spikeproof.report.records import Audit, Epoch, SavedRun, Site
from spikeproof.report.svg import ChartLine, amount_axis, line_chart
from spikeproof.report.sweeps import steps_of_trials, sweep_of_trials
from spikeproof.report.trained import trained_sentences

ACROSS = 400  # the units of a bar in the waterfall; the page stretches it to its column


def run_section(index: int, name: str, run: SavedRun, *, alone: bool) -> Markup:
    """All that is known about one run. The line that stays visible while it is folded has protocol and worst case.

    Args:
        index: of the run on the page, from 0.
        name: of the run on the page.
        run: with or without an audit.
        alone: whether it is the page's only run. It is then unfolded, and the figures that stand above it are left out.
    """
    audit = run.audit
    parts: list[Markup | str] = []
    if audit is not None:
        parts += ["" if alone else sweep_of_trials(audit), steps_of_trials(audit)]
        parts += [against_queries(audit), waterfall(audit), checks(audit), _sites(audit.sites)]
        if run.pictures is not None:
            parts.append(html_pictures(run.pictures, audit))
    return html(
        "run.html",
        index=index,
        name=name,
        run=run,
        alone=alone,
        parts=[*parts, _training(run.epochs)],
        config=json.dumps(run.config, indent=2, ensure_ascii=False),
        trained=trained_sentences(run),
        network=[] if run.audit is None else network_sentences(run.audit),
        certified=[] if run.audit is None else [certified_sentence(each, run.audit) for each in run.certificates],
    )


def waterfall(audit: Audit) -> Markup:
    """What each trial broke, from the clean errors to the worst case: one row a trial, in the order of the audit."""
    return html("waterfall.html", audit=audit, across=ACROSS)


def _sites(sites: Sequence[Site]) -> Markup | str:
    return html("sites.html", sites=sites) if sites else ""


def _training(epochs: Sequence[Epoch]) -> Markup | str:
    """Firing rate, and one small chart for each penalty, because penalties differ in scale."""
    shown = []
    rows = [(epoch.epoch, list(epoch.firing_rates.values())) for epoch in epochs if epoch.firing_rates]
    if rows:
        sentence = (
            "The mean firing rate of all sites, with the band from the quietest to the busiest site: a band that "
            "touches 0 shows a dead site."
        )
        shown.append(("Firing rate", _firing_rates(rows), sentence))
    for look, name in enumerate(dict.fromkeys(name for epoch in epochs for name in epoch.penalties), start=1):
        line = epoch_line(name, look, [(epoch.epoch, epoch.penalties.get(name, math.nan)) for epoch in epochs])
        y = amount_axis(highest([line]))
        chart = line_chart(f"Penalty {name} by epoch", [line], epoch_axis([line]), y, size=THIRD)
        sentence = "The mean penalty of each epoch: it should fall and then level off while the loss still falls."
        shown.append((f"Penalty {name}", chart, sentence))
    return panels("Sites and penalties in training", "", shown) if shown else ""


def _firing_rates(rows: Sequence[tuple[int, list[float]]]) -> Markup:
    lows, highs = [min(rates) for _, rates in rows], [max(rates) for _, rates in rows]
    means = [sum(rates) / len(rates) for _, rates in rows]
    notes = [
        f"epoch {epoch}: mean {mean:.3f}, sites from {low:.3f} to {high:.3f}"
        for (epoch, _), mean, low, high in zip(rows, means, lows, highs, strict=True)
    ]
    line = ChartLine("firing rate", 0, [epoch for epoch, _ in rows], means, notes, band=(lows, highs))
    return line_chart("Firing rate by epoch", [line], epoch_axis([line]), amount_axis(max(highs)), size=THIRD)
