"""Tables in Python: the papers' published tables and figures, and comparisons, which have no published numbers."""

from spikeproof.errors import SpikeproofError
from spikeproof.names import unknown
from spikeproof.tables.ambiguities import AMBIGUITIES
from spikeproof.tables.assg_table import ASSG_MAIN
from spikeproof.tables.mpd_sgr_defenses import TABLE1, TABLE3
from spikeproof.tables.mpd_sgr_variants import TABLE4, TABLE5
from spikeproof.tables.mpd_sgr_white_box import FIGURE2, FIGURE3, TABLE2
from spikeproof.tables.scale import Scale, at_scale, audit_sizes, describe
from spikeproof.tables.table import Calibration, Claim, Column, Measure, Row, Table, comparison
from spikeproof.tables.tgo_tables import ABLATION, ADVANCED, LANDSCAPE, MAIN, PROXIMAL

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *(TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, FIGURE2, FIGURE3),
        *(MAIN, ABLATION, ADVANCED, PROXIMAL, LANDSCAPE),
        *(ASSG_MAIN, AMBIGUITIES),
    )
}


def find_table(name: str) -> Table:
    """A table by name.

    Args:
        name: as `spikeproof reproduce list` prints it.

    Raises:
        SpikeproofError: there is none of that name.

    Example:
        >>> find_table("tgo-main").protocol
        'PGD10'
    """
    if name not in TABLES:
        raise SpikeproofError(unknown("table", name, TABLES))
    return TABLES[name]


__all__ = [
    "TABLES",
    "Calibration",
    "Claim",
    "Column",
    "Measure",
    "Row",
    "Scale",
    "Table",
    "at_scale",
    "audit_sizes",
    "comparison",
    "describe",
    "find_table",
]
