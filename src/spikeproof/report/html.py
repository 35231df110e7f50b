"""The page: read every run folder, put the parts together, write the file in one atomic step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.report.compare import compare_figures, finding
from spikeproof.report.html_table import html_table
from spikeproof.report.press import asset, html
from spikeproof.report.records import Run
from spikeproof.report.run_files import read_runs
from spikeproof.report.single_run import run_section
from spikeproof.report.wording import labels

POLICY = Markup("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@check_kinds
def write_report(runs: Sequence[str | os.PathLike[str] | Run], out: str | os.PathLike[str]) -> Path:
    """Write one self-contained HTML file about one or more run folders.

    The page loads nothing and runs no script. It is written beside ``out`` first and then put in its place, so an
    older report stays whole until the new one is.

    Args:
        runs: run folders, each of which is shown with all its audits; or runs that were read already.
        out: the HTML file; missing folders above it are made.

    Returns:
        The path of the written file.

    Raises:
        SpikeproofError: there is no folder, or a file in one is missing or damaged; nothing is written then.
    """
    out = user_path(out)  # what can be no path says so before anything is read
    if not runs:
        raise SpikeproofError("A report needs at least one run, got none; give one or more run folders.")
    page = _page([each for run in runs for each in ([run] if isinstance(run, Run) else read_runs(run))])
    if out.is_dir():
        raise SpikeproofError(f"The report should be a file, but {out} is a folder; give a name such as report.html.")
    write_atomically(out, lambda path: path.write_text(page, encoding="utf-8", errors="replace"))
    return out


def _page(runs: Sequence[Run]) -> str:
    names, alone = labels(runs), len(runs) == 1
    anns = any(run.audit and run.audit.network and run.audit.network.ann for run in runs)
    several = f"{len(runs)} {'networks' if anns else 'spiking networks'}"
    return html(
        "report.html",
        kind="spikeproof report",
        title=f"Robustness of {names[0] if alone else several}",
        policy=POLICY,
        styles=[Markup(asset("report.css"))],
        finding=finding(runs),
        table=html_table(runs),
        figures=compare_figures(runs),
        sections=[run_section(at, name, runs[at], alone=alone) for at, name in enumerate(names)],
        versions=", ".join(sorted({str(run.config["spikeproof"]) for run in runs})),
        alone=alone,
    )
