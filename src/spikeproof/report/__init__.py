"""One self-contained HTML report of one or more run folders: nominal and worst case, never one without the other."""

from spikeproof.report.comparison_picture import write_comparison_picture
from spikeproof.report.html import write_report
from spikeproof.report.markdown import comparison_table, read_page, write_between_marks
from spikeproof.report.records import Run
from spikeproof.report.run_files import read_run
from spikeproof.report.table import text_table

__all__ = [
    "Run",
    "comparison_table",
    "read_page",
    "read_run",
    "text_table",
    "write_between_marks",
    "write_comparison_picture",
    "write_report",
]
