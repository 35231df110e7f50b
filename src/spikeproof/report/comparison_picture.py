"""A comparison as a picture: for each row how far accuracy falls, from clean images to the worst case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from spikeproof.disk import write_atomically
from spikeproof.report.picks import clean_of
from spikeproof.report.press import html
from spikeproof.report.records import Audit, SavedRun
from spikeproof.report.svg import marker

# By the look of a series, which is its marker too: clean, protocol and worst case.
COLOURS = {0: "#555c64", 1: "#0072b2", 3: "#d55e00"}
_LETTER, _MARGIN = 6.4, 40.0  # room for the rows' labels


def write_comparison_picture(rows: Mapping[str, Sequence[SavedRun]], path: Path) -> None:
    """Draw a comparison as an SVG file: a line a row, the best worst case on top.

    Each line has clean and protocol accuracy and the worst case with its 95 % interval, as means over the seeds. A
    worst case that cannot be believed is hollow, and its row has a flag. The picture loads nothing.

    Args:
        rows: label to runs, one a seed. Rows without an audited run are left out; one row must have one.
        path: the file, which is replaced.
    """
    audits = {label: [run.audit for run in runs if run.audit is not None] for label, runs in rows.items()}
    shown = [_row(label, each) for label, each in audits.items() if each]
    shown.sort(key=lambda row: -row["worst"])
    picture = html(
        "comparison.svg",
        rows=shown,
        left=_MARGIN + _LETTER * max(len(row["label"]) for row in shown),
        protocol=next(each[0].protocol_trial for each in audits.values() if each),
        colours=COLOURS,
        marker=marker,
    )
    write_atomically(path, lambda temporary: temporary.write_text(picture, encoding="utf-8"))


def _row(label: str, audits: Sequence[Audit]) -> dict[str, Any]:
    worst = [audit.worst_case for audit in audits]
    return {
        "label": label,
        "clean": fmean(clean.accuracy for clean in map(clean_of, audits) if clean is not None),
        "protocol": fmean(audit.protocol.accuracy for audit in audits),
        "worst": fmean(each.accuracy for each in worst),
        "low": fmean(each.low for each in worst),
        "high": fmean(each.high for each in worst),
        "doubted": any(audit.no_number or audit.raised or not audit.has_adaptive for audit in audits),
    }
