"""Read and check an outcomes.parquet, which has every verdict of an audit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays_name
from spikeproof.records.audit_json import read_audit

_COLUMNS = {"sample", "label", "trial", "kind", "attack", "source", "norm", "eps", "correct"}


def read_outcomes(path: Path) -> pa.Table:
    """Read the verdicts of an audit, one row for each sample and trial.

    Args:
        path: the file. The audit.json beside it has its checksum.

    Returns:
        The table, with today's names of columns and kinds.

    Raises:
        SpikeproofError: the file or its audit.json is missing or damaged, the checksum differs, or a column is missing.
    """
    mend = "audit the run again with `spikeproof audit`, or restore it from a copy"
    try:
        content = path.read_bytes()
        wanted = read_audit(path.parent / "audit.json").files.get(path.name)
        if wanted is not None and wanted != hashlib.sha256(content).hexdigest():
            raise SpikeproofError(f"{path} is damaged: it is not what was written (its checksum differs); {mend}.")
        table = pq.read_table(pa.BufferReader(content))
    except SpikeproofError:
        raise
    except Exception as error:  # a damaged file raises errors of many kinds in pyarrow
        raise SpikeproofError(f"{path} cannot be read as the outcomes of an audit ({_short(error)}); {mend}.") from None
    if "radius" in table.column_names:
        table = table.rename_columns([todays_name(name) for name in table.column_names])
        kinds = [todays_name(kind) for kind in table.column("kind").to_pylist()]
        table = table.set_column(table.schema.get_field_index("kind"), "kind", pa.array(kinds, pa.string()))
    missing = _COLUMNS - set(table.column_names)
    if missing:
        raise SpikeproofError(f"{path} lacks the columns {', '.join(sorted(missing))}; {mend}.")
    return table


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
