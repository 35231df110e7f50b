"""One self-contained HTML report of one or more run folders: protocol and worst case, never one without the other."""

from spikeproof.records.audit_json import read_audit
from spikeproof.report.certified import check_agreement
from spikeproof.report.comparison import comparison_json, write_comparison
from spikeproof.report.comparison_picture import write_comparison_picture
from spikeproof.report.html import write_report
from spikeproof.report.markdown import comparison_table, read_page, write_between_marks
from spikeproof.report.outcomes_file import read_outcomes
from spikeproof.report.paired import compared, paired_table
from spikeproof.report.records import Audit, Counted, SavedRun
from spikeproof.report.run_files import audits_in, read_run, read_runs
from spikeproof.report.table import text_table
from spikeproof.report.wording import method_name

__all__ = [
    "Audit",
    "Counted",
    "SavedRun",
    "audits_in",
    "check_agreement",
    "compared",
    "comparison_json",
    "comparison_table",
    "method_name",
    "paired_table",
    "read_audit",
    "read_outcomes",
    "read_page",
    "read_run",
    "read_runs",
    "text_table",
    "write_between_marks",
    "write_comparison",
    "write_comparison_picture",
    "write_report",
]
