"""The published schema is the one that files are checked against, and it describes what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from result_rows import make_header, make_row

from spikeproof.results import ResultRow, row_schema, write_header, write_row, write_schema

COMMITTED = Path(__file__).parents[2] / "results" / "schema.json"


def schemas(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema and every schema within it."""
    inner = [*part.get("properties", {}).values(), *part.get("$defs", {}).values(), *part.get("anyOf", ())]
    inner += [*part.get("patternProperties", {}).values(), *([part["items"]] if "items" in part else [])]
    return [part, *(found for each in inner for found in schemas(each))]


def test_the_committed_schema_is_the_generated_one(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    hint = "write it again: python -c 'from pathlib import Path; import spikeproof.results as r; r.write_schema(Path("
    assert COMMITTED.read_bytes() == (tmp_path / "schema.json").read_bytes(), f'{hint}"results/schema.json"))\''


def test_every_reference_leads_somewhere() -> None:
    references = {each["$ref"] for each in schemas(row_schema()) if "$ref" in each}
    assert references == {f"#/$defs/{name}" for name in ("Count", "Cell", "Worst", "Verdict")}


def test_fields_are_those_of_the_files(tmp_path: Path) -> None:
    schema = row_schema()
    written = json.loads(write_row(make_row(), tmp_path).read_text())
    assert list(written) == list(schema["properties"]) == [*schema["required"], "images"]  # older files have none
    assert list(written) == [field.alias or name for name, field in ResultRow.model_fields.items()]
    header = json.loads(write_header(make_header(), tmp_path).read_text())
    assert list(header) == schema["$defs"]["TableHeader"]["required"]


@pytest.mark.parametrize("part", schemas(row_schema()))
def test_objects_are_closed_and_numbers_bounded(part: dict[str, Any]) -> None:
    kinds = part.get("type", ())
    assert kinds != "object" or part["additionalProperties"] is False
    if "properties" in part:
        optional = {"interval", "images", "no_number", "untestable"}
        assert set(part["required"]) == set(part["properties"]) - optional
    if ("integer" in kinds or "number" in kinds) and "const" not in part:
        assert "maximum" in part and {"minimum", "exclusiveMinimum"} & part.keys()
