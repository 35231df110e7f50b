"""The records of result files, which lie with those of all other files."""

from spikeproof.records.result_json import SCALES, SCHEMA, Cell, Count, ResultRow, TableHeader, Verdict, Worst

__all__ = ["SCALES", "SCHEMA", "Cell", "Count", "ResultRow", "TableHeader", "Verdict", "Worst"]
