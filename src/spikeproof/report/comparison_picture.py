"""A comparison as a picture: for each row how far accuracy falls, from clean images to the worst case."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from spikeproof.disk import write_atomically
from spikeproof.report.picks import clean_of
from spikeproof.report.records import Audit, Run

# Colours after Okabe and Ito (2008); each kind has a marker of its own too.
_CLEAN, _PROTOCOL, _WORST = ("#555c64", "o"), ("#0072b2", "s"), ("#d55e00", "D")
DOUBTED = "⚑ a red flag was raised, or no adaptive attack run: the worst case may be too high"


def write_comparison_picture(rows: Mapping[str, Sequence[Run]], path: Path) -> None:
    """A line a row, the best worst case on top: clean, protocol, worst case with its 95 % interval, means over seeds.

    A worst case that is not to be believed is hollow, and its row has a flag. Rows without an audited run are left
    out; the picture is PNG.
    """
    audits = {label: [run.audit for run in runs if run.audit is not None] for label, runs in rows.items()}
    shown = sorted(((label, each) for label, each in audits.items() if each), key=lambda pair: _worst(pair[1]))
    figure = Figure(figsize=(8, 1.0 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for height, (_, each) in enumerate(shown):
        clean = fmean(found.accuracy for found in map(clean_of, each) if found is not None)
        protocol, worst = fmean(audit.protocol.accuracy for audit in each), _worst(each)
        low, high = (fmean(getattr(audit.worst_case, end) for audit in each) for end in ("low", "high"))
        axes.plot([100 * worst, 100 * clean], [height, height], color="#dadce0", linewidth=1, zorder=0)
        axes.plot([100 * low, 100 * high], [height, height], color=_WORST[0], linewidth=1, alpha=0.6, zorder=1)
        for value, (colour, marker), name, hollow in (
            (clean, _CLEAN, "clean", False),
            (protocol, _PROTOCOL, f"protocol ({each[0].protocol_trial})", False),
            (worst, _WORST, "worst case, 95 % interval", _doubted(each)),
        ):
            face = "white" if hollow else colour
            axes.scatter(100 * value, height, s=22, marker=marker, facecolor=face, edgecolor=colour, zorder=2)
            if height == 0:  # for the legend, where none is hollow
                axes.scatter([], [], s=22, marker=marker, color=colour, label=name)
    labels = [f"{label} ⚑" if _doubted(each) else label for label, each in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set_ylim(-0.8, len(shown) - 0.2)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, %" + (f"\n{DOUBTED}" if any(_doubted(each) for _, each in shown) else ""))
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=130)
    write_atomically(path, lambda temporary: temporary.write_bytes(drawn.getvalue()))


def _doubted(audits: Sequence[Audit]) -> bool:
    return any(audit.no_number or audit.raised or not audit.has_adaptive for audit in audits)


def _worst(audits: Sequence[Audit]) -> float:
    return fmean(audit.worst_case.accuracy for audit in audits)
