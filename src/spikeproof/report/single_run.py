"""The second part of the page: one folded section per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from spikeproof.report.checks import checks
from spikeproof.report.figures import THIRD, epoch_axis, epoch_line, highest, panels
from spikeproof.report.pictures import html_pictures
from spikeproof.report.queries import against_queries
from spikeproof.report.records import Audit, Epoch, Run, Site
from spikeproof.report.svg import Line, amount_axis, histogram, line_chart, swatch
from spikeproof.report.sweeps import steps_of_trials, sweep_of_trials
from spikeproof.report.trained import trained_sentences
from spikeproof.report.waterfall import waterfall
from spikeproof.report.wording import (
    conditions,
    further,
    interval,
    masking_gap,
    percent,
    reservations,
    share,
    worst_case,
    worst_interval,
)


def run_section(index: int, name: str, run: Run, *, alone: bool) -> str:
    """Everything that is known about one run; its line of summary already holds protocol and worst case.

    The only run of a page stands unfolded, and without the figures that the first part has already shown of it.
    """
    audit = run.audit
    summary = (
        "not audited"
        if audit is None
        else f"protocol {percent(audit.protocol.accuracy)} · worst case {worst_case(audit)} · gap {masking_gap(audit)}"
    )
    parts = [
        f'<details class="run"{" open" if alone else ""}><summary>{swatch(index)}<h3>{escape(name)}</h3>'
        f'<span class="conditions">{summary}</span></summary><div id="run-{index + 1}">'
    ]
    parts.append(f'<div class="figures"><section class="card">{_facts(audit)}{_trained(run)}{_commands(run)}</section>')
    if audit is not None:
        parts += ["" if alone else sweep_of_trials(audit), steps_of_trials(audit)]
        parts += [against_queries(audit), waterfall(audit), checks(audit), _sites(audit.sites)]
        if run.pictures is not None:
            parts.append(html_pictures(run.pictures, audit))
    config = json.dumps(run.config, indent=2, ensure_ascii=False)
    parts.append(f"{_training(run.epochs)}</div><details><summary>Resolved config</summary>")
    parts.append(f"<pre>{escape(config)}</pre></details></div></details>")
    return "".join(parts)


def _facts(audit: Audit | None) -> str:
    if audit is None:
        return (
            '<h4>Robustness</h4><p class="warning"><span aria-hidden="true">⚠</span> This run has not been audited, so '
            "nothing is known about its robustness. Run <code>spikeproof audit</code> on its folder.</p>"
        )
    facts = [*conditions(audit).values(), f"{audit.batch_size} images at a time", f"audit took {audit.seconds:.0f} s"]
    ahead = "" if audit.search is None else f"<p>{escape(further(audit.search, audit.samples))}</p>"
    zero = f"zero-gradient share {percent(audit.zero_gradient_share)} %"
    nothing = f'<p class="warning">{escape(audit.no_number)}</p>' if audit.no_number else ""
    warnings = (
        '<p class="warning"><span aria-hidden="true">⚠</span> What speaks against these numbers stands '
        '<a href="#doubts">below the table</a>.</p>'
        if reservations(audit)
        else ""
    )
    return (
        f"<h4>Robustness</h4><p>Protocol ({escape(audit.protocol_trial)}): <b>{percent(audit.protocol.accuracy)} %</b> "
        f"({interval(audit.protocol)}). Worst case: <b>{worst_case(audit)}{'' if audit.no_number else ' %'}</b> "
        f"({worst_interval(audit)}). Masking gap: <b>{masking_gap(audit)}</b> points.</p>{nothing}{ahead}"
        f'<p class="conditions">{" · ".join(escape(fact) for fact in facts)} · '
        f'<span title="share of samples whose input gradient is exactly zero; a protocol attack cannot move them">'
        f"{zero}</span></p>{warnings}"
    )


def _sites(sites: Sequence[Site]) -> str:
    if not sites:
        return ""
    panels = "".join(
        f'<div class="site"><h5>{escape(site.name)}</h5>'
        f"{histogram(f'Histogram of margins at {site.name}', site.edges, site.counts, site.window)}"
        f"<p>Ω {share(site.omega)} · within ±{site.proximal_width:g}: {percent(site.proximal_share)} % · firing rate "
        f"{share(site.firing_rate)}</p></div>"
        for site in sites
    )
    return (
        f'<figure class="wide"><h4>Margins at each site</h4><div class="sites">{panels}</div><figcaption>How far '
        "potentials lie from the threshold (the upright line at margin 0): coloured bars fire, grey bars do not, and "
        "the shaded window is where the surrogate passes gradient. Mass inside the window is what a small "
        "perturbation, and an attack that trusts this surrogate, can move.</figcaption></figure>"
    )


def _training(epochs: Sequence[Epoch]) -> str:
    """Firing rate, and one small chart per penalty, for their scales have nothing in common."""
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


def _firing_rates(rows: Sequence[tuple[int, list[float]]]) -> str:
    lows, highs = [min(rates) for _, rates in rows], [max(rates) for _, rates in rows]
    means = [sum(rates) / len(rates) for _, rates in rows]
    notes = [
        f"epoch {epoch}: mean {mean:.3f}, sites from {low:.3f} to {high:.3f}"
        for (epoch, _), mean, low, high in zip(rows, means, lows, highs, strict=True)
    ]
    line = Line("firing rate", 0, [epoch for epoch, _ in rows], means, notes, band=(lows, highs))
    return line_chart("Firing rate by epoch", [line], epoch_axis([line]), amount_axis(max(highs)), size=THIRD)


def _trained(run: Run) -> str:
    made = " · ".join(f"{name} {run.config[name]}" for name in ("spikeproof", "torch", "python", "device"))
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in trained_sentences(run))
    return f'<h4>How it was trained</h4>{words}<p class="conditions">{escape(made)}</p>'


def _commands(run: Run) -> str:
    commands = [run.command] + ([run.audit.command] if run.audit is not None else [])
    return f"<h4>Commands</h4><pre>{escape(chr(10).join(commands))}</pre>"
