"""What commands that audit share: a radius that fits its norm, and what is shown at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikeproof.audit import AuditConfig
from spikeproof.errors import SpikeproofError
from spikeproof.report import SavedRun, read_run, text_table, write_report
from spikeproof.threat import NORMS


def check_radius(whose: str, asked: AuditConfig, usual: AuditConfig) -> None:
    """Refuse a radius that was chosen for another norm.

    Args:
        whose: the radius was, as a sentence begins.

    Raises:
        SpikeproofError: the norm was changed and the radius was not.
    """
    if asked.norm != usual.norm and asked.eps == usual.eps:
        raise SpikeproofError(
            f"{whose} a radius in {NORMS[usual.norm]}, which is none in {NORMS[asked.norm]}; give --eps too, such "
            f"as {'128/255' if asked.norm == 'l2' else '8/255'}."
        )


def show_audit(run: Path, place: Path, *, json: bool) -> None:
    """Write the report of all audits in a folder, and print the one in ``place``."""
    report = write_report([run], run / "report.html")
    if json:
        print((place / "audit.json").read_text(), end="")
    else:
        print(text_table([read_run(run, place)]))
        print(f"\nAudit: {place}\nReport: {report}")


def show_runs(runs: Sequence[SavedRun], out: Path) -> None:
    """Write the report of these runs to ``out``, and print their table."""
    report = write_report(runs, out)  # first: whoever reads what is printed may stop reading
    print(text_table(runs))
    print(f"\nReport: {report}")
