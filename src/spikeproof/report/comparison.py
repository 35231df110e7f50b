"""A comparison on paper: the table between a page's marks, the report, the picture, and the rows as plain objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeproof.report.comparison_picture import write_comparison_picture
from spikeproof.report.html import write_report
from spikeproof.report.markdown import comparison_table, write_between_marks
from spikeproof.report.paired import paired_table
from spikeproof.report.records import SavedRun


def write_comparison(
    rows: Mapping[str, Sequence[SavedRun]],
    costs: Mapping[str, float],
    page: Path,
    report: Path,
    over: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the Markdown table between the page's marks, and of the same runs an HTML report and a picture beside it.

    Args:
        rows: label to audited runs, one a seed.
        costs: see :func:`comparison_table`.
        page: the Markdown page, which keeps what stands around its marks.
        report: the HTML file.
        over: pairs of rows that are compared image by image below the table.

    Raises:
        SpikeproofError: nothing is audited yet, rows were audited under different conditions, or the page cannot be
            written.
    """
    write_between_marks(page, "\n\n".join(filter(None, [comparison_table(rows, costs), paired_table(rows, over)])))
    write_comparison_picture(rows, report.with_name("comparison.svg"))
    write_report([run for runs in rows.values() for run in runs], report)


def comparison_json(rows: Mapping[str, Sequence[SavedRun]]) -> list[dict[str, Any]]:
    """A plain object for each audited run: accuracies in [0, 1], and where its files are.

    Args:
        rows: label to runs, one a seed; those without an audit are left out.
    """
    return [
        {
            "recipe": name,
            "run": str(run.folder),
            "seed": run.config["recipe"]["train"]["seed"],  # type: ignore[index]
            "samples": run.audit.samples,
            "norm": run.audit.norm,
            "eps": run.audit.eps,
            "battery": run.audit.battery,
            "accuracies": {trial.name: trial.own.accuracy for trial in run.audit.trials if trial.own is not None},
            "protocol": run.audit.protocol.accuracy,
            "worst_case": None if run.audit.no_number else run.audit.worst_case.accuracy,
            "no_number": run.audit.no_number or None,
            "masking_gap": None if run.audit.no_number else run.audit.masking_gap,
            "flags": [flag.name for flag in run.audit.raised],
        }
        for name, runs in rows.items()
        for run in runs
        if run.audit is not None
    ]
