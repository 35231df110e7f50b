"""The page on training names every field of a line of metrics.jsonl, and no other."""

import re
from pathlib import Path

from spikeproof.records.run_json import Epoch

TRAINING = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_page_names_every_field_of_a_line():
    table = TRAINING.read_text().partition("## Watch")[2].partition("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall("`(.*?)`", row)]
    assert sorted(named) == sorted([*Epoch.model_fields, "sha256"])
