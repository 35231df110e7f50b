"""What a result file may hold, as a file: the JSON Schema that is made from the records."""

from __future__ import annotations

import json
from pathlib import Path

from spikeproof.disk import write_atomically
from spikeproof.records.result_json import SCALES, row_schema

__all__ = ["SCALES", "row_schema", "write_schema"]


def write_schema(path: Path) -> None:
    """Write :func:`row_schema` to ``path``."""
    text = json.dumps(row_schema(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))
