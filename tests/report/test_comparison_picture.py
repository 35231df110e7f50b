"""The picture of a comparison: what is not to be believed is seen at once, and without colours too."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from report_folders import FLAGS, make_audit, read_one, write_run

from spikeproof.report import write_comparison_picture
from spikeproof.report.comparison_picture import COLOURS

CLEAN, PROTOCOL, WORST = COLOURS.values()
SVG = "{http://www.w3.org/2000/svg}"


def marks(folder: Path, audit: dict[str, Any]) -> list[dict[str, str]]:
    """The marks of the legend, and then those of the only row."""
    run = read_one(write_run(folder, audit=audit))
    write_comparison_picture({"a<row>": [run]}, folder / "picture.svg")
    picture = ElementTree.parse(folder / "picture.svg")
    assert "a<row>" in {(text.text or "").removesuffix(" ⚑") for text in picture.iter(f"{SVG}text")}
    return [path.attrib for path in picture.iter(f"{SVG}path") if path.get("class") == "mark"]


def test_a_worst_case_with_a_red_flag_is_hollow(tmp_path: Path) -> None:
    fills = [mark["fill"] for mark in marks(tmp_path / "plain", make_audit())]
    assert fills == [CLEAN, PROTOCOL, WORST] * 2
    fills = [mark["fill"] for mark in marks(tmp_path / "flagged", make_audit(raised=FLAGS[0]))]
    assert fills == [CLEAN, PROTOCOL, WORST, CLEAN, PROTOCOL, "white"]


def test_a_worst_case_without_an_adaptive_attack_is_hollow(tmp_path: Path) -> None:
    audit = make_audit(correct=(431, 300, 219, 219))
    del audit["trials"][3]
    assert marks(tmp_path / "weak", audit)[-1]["fill"] == "white"


def test_marks_stand_where_the_numbers_are_and_differ_in_shape(tmp_path: Path) -> None:
    clean, protocol, worst = marks(tmp_path / "plain", make_audit())[3:]
    assert len({mark["d"] for mark in (clean, protocol, worst)}) == 3
    at = [float(mark["transform"].removeprefix("translate(").split()[0]) for mark in (clean, protocol, worst)]
    assert abs((at[0] - at[1]) / (at[1] - at[2]) - (431 - 219) / (219 - 176)) < 0.01


def test_the_best_worst_case_stands_on_top(tmp_path: Path) -> None:
    rows = {
        name: [read_one(write_run(tmp_path / name, audit=make_audit(correct=(431, 300, 219, correct))))]
        for name, correct in (("low", 20), ("high", 176), ("middle", 100))
    }
    write_comparison_picture(rows, tmp_path / "picture.svg")
    texts = [text.text for text in ElementTree.parse(tmp_path / "picture.svg").iter(f"{SVG}text")]
    assert [text for text in texts if text in rows] == ["high", "middle", "low"]
