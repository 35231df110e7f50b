"""The table holds the exact percentages, and says so where rows may not be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_folders import make_audit, make_trial, wilson, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import read_run, text_table
from spikeproof.report.table import html_table
from spikeproof.report.wording import labels, percent, radius_text


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(tmp_path: Path, **audits: dict[str, Any] | None) -> str:
    return text_table([read_run(write_run(tmp_path / name, name=name, audit=audit)) for name, audit in audits.items()])


def test_rows_hold_the_percentages(tmp_path: Path) -> None:
    lines = table_of(tmp_path, one=make_audit(), two=make_audit(correct=(462, 121, 31, 2))).splitlines()
    assert cells(lines[0]) == ["Run", "Clean", "FGSM", "PGD-20", "ASSG+SA-PGD-100", "Worst case", "Masking gap"]
    assert cells(lines[2]) == ["one", "86.2", "60.0", "43.8*", "35.2", "35.2", "8.6"]
    assert cells(lines[3]) == ["two", "92.4", "24.2", "6.2*", "0.4", "0.4", "5.8"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert (
        "Linf 2/255, n = 500, test split, noise off, crafted in bf16, judged in float32, device cpu, seed 0." in lines
    )
    assert "different conditions" not in "\n".join(lines)


def test_the_stated_reach_covers_every_interval(tmp_path: Path) -> None:
    bounds = wilson(219 / 500, 500)
    reach = percent(max(bounds["high"] - bounds["accuracy"], bounds["accuracy"] - bounds["low"]))
    assert f"reach at most {reach} points" in table_of(tmp_path, one=make_audit())


def test_differing_conditions_become_columns(tmp_path: Path) -> None:
    second = make_audit(correct=(100, 90, 80, 60), samples=128, radius=8 / 255) | {"split": "validation"}
    text = table_of(tmp_path, one=make_audit(), two=second)
    lines = text.splitlines()
    assert cells(lines[0])[:4] == ["Run", "Threat", "Samples", "Split"]
    assert cells(lines[2])[1:4] == ["Linf 2/255", "n = 500", "test split"]
    assert cells(lines[3])[1:4] == ["Linf 8/255", "n = 128", "validation split"]
    assert "different conditions (threat, samples and split)" in text
    html = html_table([read_run(tmp_path / name) for name in ("one", "two")])
    assert "different conditions (threat, samples and split)" in html
    assert "L∞ 2/255 · n = 500 · test split</span>" in html and "L∞ 8/255 · n = 128 · validation split</span>" in html


def test_a_different_set_of_attacks_is_said_too(tmp_path: Path) -> None:
    nominal_only = make_audit(correct=(431, 300, 219, 219))
    nominal_only["trials"].pop()
    text = table_of(tmp_path, one=make_audit(), two=nominal_only)
    assert cells(text.splitlines()[3]) == ["two", "86.2", "60.0", "43.8*", "-", "43.8", "0.0?"]
    assert "different conditions (attacks)" in text
    assert "! two: no adaptive attack was run" in text
    assert "no adaptive attack" in html_table([read_run(tmp_path / "two")])


def test_a_run_without_audit_keeps_its_row(tmp_path: Path) -> None:
    text = table_of(tmp_path, one=make_audit(), two=None)
    assert cells(text.splitlines()[3]) == ["two", "-", "-", "-", "-", "not audited", "-"]
    assert "! two: not audited yet." in text
    assert cells(table_of(tmp_path, three=None).splitlines()[2]) == ["three", "not audited", "-"]


def test_a_trial_on_fewer_samples_says_so(tmp_path: Path) -> None:
    audit = make_audit()
    audit["trials"].append(make_trial("Square", "adaptive", "square", "none", 90, 128))
    assert "n = 128</small>" in html_table([read_run(write_run(tmp_path / "x", audit=audit))])


def test_html_row_has_values_intervals_and_counts(tmp_path: Path) -> None:
    html = html_table([read_run(write_run(tmp_path / "x", audit=make_audit()))])
    bounds = wilson(176 / 500, 500)
    low, high = percent(bounds["low"]), percent(bounds["high"])
    assert (
        f'data-label="Worst case" title="right under every attack of the audit; 95 % interval {low}–{high} %"' in html
    )
    assert "219 of 500 right" in html and "gradient source: assg" in html
    for value in ("86.2", "60.0", "43.8", "35.2", "8.6"):
        assert f"<span>{value}" in html
    assert html.count('class="star"') == 1


def test_text_is_one_ascii_line_per_row(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", name="a|b\n\x1b[31mü", audit=make_audit() | {"warnings": ["two\nlines"]})
    text = text_table([read_run(run)])
    assert text.isascii() and "\x1b" not in text
    assert cells(text.splitlines()[2])[0] == "a/b ?[31m?"
    assert "two lines" in text


def test_no_run() -> None:
    with pytest.raises(SpikeproofError, match="at least one run"):
        text_table([])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / each / name, name="same") for each, name in (("a", "x"), ("a", "y"), ("b", "y"))]
    assert labels([read_run(folder) for folder in folders]) == ["same (x)", "same (y) (2)", "same (y) (3)"]


def test_radii_and_percentages_are_written_as_the_field_writes_them() -> None:
    assert [radius_text("linf", radius) for radius in (8 / 255, 0.00784, 0.01, 0.5 / 255)] == [
        "8/255",
        "2/255",
        "2.55/255",
        "0.5/255",
    ]
    assert radius_text("l2", 0.5) == "0.5"
    assert [percent(value) for value in (0.862, 0.0, -1e-17, 1.0, float("nan"))] == [
        "86.2",
        "0.0",
        "0.0",
        "100.0",
        "undefined",
    ]
