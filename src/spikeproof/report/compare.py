"""The first part of the page: all runs side by side, in sentences and in figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from spikeproof.report.figures import FULL, THIRD, epoch_axis, epoch_line, figure, highest, panels
from spikeproof.report.numbers import listed, percent, share
from spikeproof.report.picks import clean_of
from spikeproof.report.press import html
from spikeproof.report.records import Epoch, SavedRun, Site
from spikeproof.report.svg import Axis, Bar, ChartLine, amount_axis, bars, legend, line_chart
from spikeproof.report.sweeps import sweep_of_trials, sweeps_of_runs
from spikeproof.report.wording import labels, masking_gap, unlike_sentence, worst_case


def finding(runs: Sequence[SavedRun]) -> Markup:
    """The result in one or two sentences: the best worst case, its protocol accuracy, and how sure the order is.

    Runs with equal worst cases are all named.
    """
    audited = [(name, run.audit) for name, run in zip(labels(runs), runs, strict=True) if run.audit is not None]
    ranked = [(name, audit) for name, audit in audited if not audit.no_number]
    best = max(ranked, key=lambda pair: pair[1].worst_case.accuracy, default=None)
    most = None if best is None else best[1].worst_case
    first = [(name, audit) for name, audit in ranked if audit.worst_case == most]
    reached = [] if most is None else [name for name, each in ranked if each.worst_case.high >= most.low]
    return html(
        "finding.html",
        unlike=unlike_sentence(runs),
        first=first,
        ranked=len(ranked),
        near=[name for name in reached if name not in dict(first)],
        hidden=[name for name, audit in audited if audit.no_number],
    )


def compare_figures(runs: Sequence[SavedRun]) -> list[Markup | str]:
    """The figures in which every run is one line; for a single run its own curve. Figures without data are ""."""
    audit = runs[0].audit
    alone = ["" if audit is None else sweep_of_trials(audit)]
    return [_headline_bars(runs), *(sweeps_of_runs(runs) if len(runs) > 1 else alone), _sites(runs), _training(runs)]


def _headline_bars(runs: Sequence[SavedRun]) -> Markup | str:
    groups = []
    for look, (name, run) in enumerate(zip(labels(runs), runs, strict=True)):
        if run.audit is None:
            continue
        audit = run.audit
        clean = clean_of(audit)
        group = []
        if clean is not None:
            group.append(Bar("clean", clean.accuracy, clean.low, clean.high, percent(clean.accuracy), "clean"))
        low, worst = audit.protocol, audit.worst_case
        group.append(Bar("protocol", low.accuracy, low.low, low.high, percent(low.accuracy), "protocol"))
        text = f"{worst_case(audit)}, gap {masking_gap(audit)}"
        group.append(Bar("worst case", worst.accuracy, worst.low, worst.high, text, "worst", ghost=low.accuracy))
        groups.append((name, look, group))
    if not groups:
        return ""
    caption = (
        "Accuracy on clean images, under the protocol attack and under every attack together; whiskers are 95 % "
        "intervals. The dashed outline is the masking gap: what the protocol accuracy promises and the worst case "
        f"takes. {unlike_sentence(runs)}"
    )
    title = "Clean, protocol and worst-case accuracy of each run"
    return figure("Protocol and worst case", bars(title, groups), caption, style="tall")


def _sites(runs: Sequence[SavedRun]) -> Markup | str:
    """Where the margins lie, site by site: the proximal share and Ω."""
    named = list(enumerate(zip(labels(runs), runs, strict=True)))
    probed = [(look, name, run.audit.sites) for look, (name, run) in named if run.audit is not None and run.audit.sites]
    if not probed:
        return ""
    deepest = max(len(sites) for _, _, sites in probed)
    same = len({tuple(site.name for site in sites) for _, _, sites in probed}) == 1
    ends = f" ({probed[0][2][0].name} … {probed[0][2][-1].name})" if same and deepest > 1 else ""
    ticks = tuple((float(i), str(i + 1)) for i in range(0, deepest, math.ceil(deepest / 12)))
    x = Axis(-0.3, deepest - 0.7, ticks, f"site, from input to output{ends}")

    def chart(title: str, value: Callable[[Site], float], words: Callable[[float], str], *, percents: bool) -> Markup:
        lines = [
            ChartLine(
                label=name,
                look=look,
                x=range(len(sites)),
                y=[value(site) for site in sites],
                notes=[f"{name}, {site.name}: {words(value(site))}" for site in sites],
            )
            for look, name, sites in probed
        ]
        return line_chart(title, lines, x, amount_axis(highest(lines), percent=percents))

    widths = sorted({site.proximal_width for _, _, sites in probed for site in sites})
    within = listed([f"{width:g}" for width in widths]) + (" (it differs between sites)" if len(widths) > 1 else "")
    proximal = (
        f"The measured share of potentials within {within} of the threshold: a small perturbation can flip these "
        "neurons, so lower is safer as long as the masking gap stays small."
    )
    omega = (
        "The share of margins inside the surrogate's window, estimated from their mean and spread. Lower means that "
        "fewer neurons pass gradient to a fixed surrogate: robustness or masking, and only the masking gap tells which."
    )
    shown = (
        (
            "Threshold-proximal potentials",
            chart(
                "Share of threshold-proximal potentials by site", lambda s: s.proximal_share, _with_sign, percents=True
            ),
            proximal,
        ),
        ("Ω", chart("Omega by site", lambda s: s.omega, share, percents=False), omega),
    )
    return panels("Where the margins lie", legend([(name, look, False) for look, name, _ in probed]), shown)


def _with_sign(fraction: float) -> str:
    return f"{percent(fraction)} %"


def _training(runs: Sequence[SavedRun]) -> Markup | str:
    """How training went: loss, training accuracy and, where it was measured, validation accuracy.

    A run with several audits was trained once: it is drawn once, with its first audit's colour.
    """
    first = {run.folder: look for look, run in reversed(list(enumerate(runs))) if run.epochs}
    if not first:
        return ""
    looks = sorted(first.values())
    trained = [runs[look] for look in looks]
    named = list(zip(looks, labels(trained), trained, strict=True))

    def lines(value: Callable[[Epoch], float | None]) -> list[ChartLine]:
        series = (
            (name, look, [(epoch.epoch, y) for epoch in run.epochs if (y := value(epoch)) is not None])
            for look, name, run in named
        )
        return [epoch_line(name, look, points) for name, look, points in series if points]

    loss, train = lines(lambda epoch: epoch.loss), lines(lambda epoch: epoch.train_accuracy)
    validation = lines(lambda epoch: epoch.validation_accuracy)
    shown = [
        (
            "Loss",
            line_chart("Training loss by epoch", loss, epoch_axis(loss), amount_axis(highest(loss)), size=THIRD),
            "The training loss; it says how training went, not how robust the result is.",
        ),
        (
            "Training accuracy",
            line_chart("Training accuracy by epoch", train, epoch_axis(train), FULL, size=THIRD),
            "Accuracy on the training batches as the network saw them, adversarial ones included.",
        ),
    ]
    if validation:
        chart = line_chart("Validation accuracy by epoch", validation, epoch_axis(validation), FULL, size=THIRD)
        sentence = "Accuracy on the validation split; far below training accuracy it shows over-fitting."
        shown.append(("Validation accuracy", chart, sentence))
    return panels("Training", legend([(name, look, False) for look, name, _ in named]), shown)
