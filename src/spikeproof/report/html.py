"""The report page: read every run folder, put the page's parts together, and write the file atomically."""

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
from spikeproof.report.records import SavedRun
from spikeproof.report.run_files import read_runs
from spikeproof.report.single_run import run_section
from spikeproof.report.wording import labels

POLICY = Markup("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@check_kinds
def write_report(runs: Sequence[str | os.PathLike[str] | SavedRun], out: str | os.PathLike[str]) -> Path:
    """Write one self-contained HTML file about one or more run folders.

    The page loads nothing and runs no script. It is written beside ``out`` and then moved there, so an older report
    stays whole until the new one is complete.

    Args:
        runs: one or more run folders, each shown with all its audits, or runs from ``read_run``.
        out: the HTML file; missing folders above it are made.

    Returns:
        The path of the written file.

    Raises:
        SpikeproofError: there is no run, ``out`` is a folder, or a file of a run is missing or damaged. Nothing is
            written then.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import spikeproof as sp
        >>> data = sp.load_data("digits", validation=50, train_limit=64)
        >>> model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> config = sp.TrainConfig(epochs=1, augmentation=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = sp.train(model, data, config=config, out=folder, show=False)
        ...     write_report([folder], Path(folder) / "report.html").name
        'report.html'
    """
    out = user_path(out)  # refuses an impossible path before anything is read
    if not runs:
        raise SpikeproofError("A report needs at least one run, got none; give one or more run folders.")
    page = _page([each for run in runs for each in ([run] if isinstance(run, SavedRun) else read_runs(run))])
    if out.is_dir():
        raise SpikeproofError(f"The report should be a file, but {out} is a folder; give a name such as report.html.")
    write_atomically(out, lambda path: path.write_text(page, encoding="utf-8", errors="replace"))
    return out


def _page(runs: Sequence[SavedRun]) -> str:
    names, alone = labels(runs), len(runs) == 1
    anns = any(run.audit and run.audit.network and run.audit.network.ann for run in runs)
    networks = len({run.folder.resolve() for run in runs})
    kind = "networks" if anns else "spiking networks"
    several = f"{networks} {kind}" if networks > 1 else f"{runs[0].name} in {len(runs)} audits"
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
