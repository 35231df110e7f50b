"""Result files of the papers' tables: written, read strictly, and turned into pages. Anyone's can be read anywhere."""

from spikeproof.records.result_json import SCHEMA, Cell, Count, ResultRow, TableHeader, Verdict, Worst, row_schema
from spikeproof.results.files import check_results, read_results, write_header, write_row, write_schema
from spikeproof.results.pages import write_pages
from spikeproof.results.submissions import Submission, compare, read_submission
from spikeproof.results.table_page import render_table

__all__ = [
    "SCHEMA",
    "Cell",
    "Count",
    "ResultRow",
    "Submission",
    "TableHeader",
    "Verdict",
    "Worst",
    "check_results",
    "compare",
    "read_results",
    "read_submission",
    "render_table",
    "row_schema",
    "write_header",
    "write_pages",
    "write_row",
    "write_schema",
]
