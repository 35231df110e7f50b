"""One self-contained HTML report of one or more run folders: nominal and worst case, never one without the other."""

from spikeproof.report.html import write_report
from spikeproof.report.run_files import read_run
from spikeproof.report.table import text_table

__all__ = ["read_run", "text_table", "write_report"]
