"""The second part of the page: one folded section per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from spikeproof.report.figures import epoch_axis, epoch_line, figure, highest
from spikeproof.report.pictures import html_pictures
from spikeproof.report.records import Audit, Epoch, Run, Site
from spikeproof.report.svg import Line, amount_axis, histogram, line_chart, swatch
from spikeproof.report.sweeps import sweep_of_trials
from spikeproof.report.wording import conditions, interval, percent, share


def run_section(index: int, name: str, run: Run, *, alone: bool) -> str:
    """Everything that is known about one run; its line of summary already holds nominal and worst case.

    The only run of a page stands unfolded, and without the figures that the first part has already shown of it.
    """
    audit = run.audit
    summary = (
        "not audited"
        if audit is None
        else f"nominal {percent(audit.nominal.accuracy)} · worst case {percent(audit.worst_case.accuracy)} "
        f"· gap {percent(audit.masking_gap)}"
    )
    parts = [
        f'<details class="run"{" open" if alone else ""}><summary>{swatch(index)}<h3>{escape(name)}</h3>'
        f'<span class="conditions">{summary}</span></summary><div id="run-{index + 1}">'
    ]
    if audit is None:
        parts.append(
            '<p class="warning"><span aria-hidden="true">⚠</span> This run has not been audited, so nothing is known '
            "about its robustness. Run <code>spikeproof audit</code> on its folder.</p>"
        )
    else:
        parts.append(_facts(audit))
    parts.append('<div class="figures">')
    if audit is not None:
        parts += ["" if alone else sweep_of_trials(audit), _sites(audit.sites)]
    if run.pictures is not None:
        parts.append(html_pictures(run.pictures, audit))
    parts += [_penalties(run.epochs), _firing_rates(run.epochs), "</div>", _training_facts(run.epochs), _commands(run)]
    config = json.dumps(run.config, indent=2, ensure_ascii=False)
    parts.append(f"<details><summary>Resolved config</summary><pre>{escape(config)}</pre></details></div></details>")
    return "".join(parts)


def _facts(audit: Audit) -> str:
    facts = [*conditions(audit).values(), f"audit took {audit.seconds:.0f} s"]
    zero = f"zero-gradient share {percent(audit.zero_gradient_share)} %"
    items = "".join(f"<li>{escape(warning)}</li>" for warning in audit.warnings)
    warnings = f'<ul class="warning" aria-label="Warnings">{items}</ul>' if items else ""
    return (
        f"<p>Nominal ({escape(audit.nominal_trial)}): <b>{percent(audit.nominal.accuracy)} %</b> "
        f"({interval(audit.nominal)}). Worst case: <b>{percent(audit.worst_case.accuracy)} %</b> "
        f"({interval(audit.worst_case)}). Masking gap: <b>{percent(audit.masking_gap)}</b> points.</p>"
        f'<p class="conditions">{" · ".join(escape(fact) for fact in facts)} · '
        f'<span title="share of samples whose input gradient is exactly zero; a nominal attack cannot move them">{zero}'
        f"</span></p>{warnings}"
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


def _penalties(epochs: Sequence[Epoch]) -> str:
    """One small chart per penalty, for their scales have nothing in common."""
    charts = []
    for look, name in enumerate(dict.fromkeys(name for epoch in epochs for name in epoch.penalties)):
        line = epoch_line(name, look, [(epoch.epoch, epoch.penalties.get(name, math.nan)) for epoch in epochs])
        chart = line_chart(f"Penalty {name} by epoch", [line], epoch_axis([line]), amount_axis(highest([line])))
        caption = "The mean penalty over each epoch: it should fall and then level off while the loss still falls."
        charts.append(figure(f"Penalty {name}", chart, caption))
    return "".join(charts)


def _firing_rates(epochs: Sequence[Epoch]) -> str:
    rows = [(epoch.epoch, list(epoch.firing_rates.values())) for epoch in epochs if epoch.firing_rates]
    if not rows:
        return ""
    lows, highs = [min(rates) for _, rates in rows], [max(rates) for _, rates in rows]
    means = [sum(rates) / len(rates) for _, rates in rows]
    notes = [
        f"epoch {epoch}: mean {mean:.3f}, sites from {low:.3f} to {high:.3f}"
        for (epoch, _), mean, low, high in zip(rows, means, lows, highs, strict=True)
    ]
    line = Line("firing rate", 0, [epoch for epoch, _ in rows], means, notes, band=(lows, highs))
    chart = line_chart("Firing rate by epoch", [line], epoch_axis([line]), amount_axis(max(highs)))
    caption = (
        "The mean firing rate of all sites by epoch, with the band from the quietest to the busiest site: a band that "
        "touches 0 shows a dead site."
    )
    return figure("Firing rate in training", chart, caption)


def _training_facts(epochs: Sequence[Epoch]) -> str:
    if not epochs:
        return "<p>No epoch of training is finished yet.</p>"
    last = epochs[-1]
    validation = (
        "" if last.validation_accuracy is None else f", validation accuracy {percent(last.validation_accuracy)} %"
    )
    minutes = sum(epoch.seconds for epoch in epochs) / 60
    return (
        f"<p>{len(epochs)} epochs in {minutes:.1f} minutes; the last, epoch {last.epoch}: loss {last.loss:.4g}, "
        f"training accuracy {percent(last.train_accuracy)} %{validation}.</p>"
    )


def _commands(run: Run) -> str:
    commands = [run.command] + ([run.audit.command] if run.audit is not None else [])
    made = " · ".join(f"{name} {run.config[name]}" for name in ("spikeproof", "torch", "python", "device"))
    code = f"<pre>{escape(chr(10).join(commands))}</pre>"
    return f'<h4>Commands</h4>{code}<p class="conditions">Trained with {escape(made)}</p>'
