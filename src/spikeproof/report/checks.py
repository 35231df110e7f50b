"""Whether an audit's numbers can be believed: every check with what it measured, and how the attacks were set."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from spikeproof.report.numbers import listed, percent
from spikeproof.report.press import html
from spikeproof.report.records import Audit
from spikeproof.report.wording import UNCHECKED


def checks(audit: Audit) -> Markup:
    """The figure of all flags, the raised ones first, with ``tuning_line`` below."""
    return html("checks.html", audit=audit, tuning=tuning_line(audit), unchecked=UNCHECKED)


def tuning_line(audit: Audit) -> str:
    """A sentence on which settings of the attacks were chosen on validation samples, or that defaults were taken."""
    tuning = audit.tuning
    written = {name: f"{tuning.labels.get(name, name)} = {value:g}" for name, value in tuning.chosen.items()}
    defaults = [words for name, words in written.items() if name not in tuning.tried]
    if tuning.samples == 0:
        return f"No setting of the attacks was tuned: defaults were taken ({listed(defaults)})."
    searched = [f"{words} ({_spread(tuning.tried[name])})" for name, words in written.items() if name in tuning.tried]
    if not searched:
        return "No trial has a setting to tune."
    rest = f"; {listed(defaults)} by default, as no trial uses it" if defaults else ""
    return f"Chosen on {tuning.samples} validation samples, none of them audited: {listed(searched)}{rest}."


def _spread(tried: Mapping[str, float]) -> str:
    """In words like "5 values tried left from 12.0 to 15.0 %"; ``tried`` maps each value to the accuracy it left."""
    return f"{len(tried)} values tried left from {percent(min(tried.values()))} to {percent(max(tried.values()))} %"
