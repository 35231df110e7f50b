"""What was written is read again, equal rows are equal bytes, and nothing wrong is read or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from result_rows import cell, count, make_header, make_row, make_worst

from spikeproof.results import Cell, Verdict, check_results, read_results, write_header, write_row


def without_intervals(held: Any) -> Any:
    if isinstance(held, dict):
        return {name: without_intervals(part) for name, part in held.items() if name != "interval"}
    return held


def change(path: Path, place: str, value: Any) -> Path:
    """Set one field, given with dots, of a JSON file; the intervals, which may not fit any more, are left out."""
    content = without_intervals(json.loads(path.read_text(encoding="utf-8")))
    *outer, last = place.split(".")
    held = content
    for name in outer:
        held = held[name]
    held[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    measured = {"Ω": Cell(count=None, value=0.12, published=None), "Clean": Cell(count=None, value=None, published=9.1)}
    rows = [
        make_row(peak_memory_bytes=2**31),
        make_row(seed=1, recipe_hash="f" * 16),
        make_row(
            "at",
            label="AT, ε = 2/255",
            defenses=("AT(eps=2/255)", "TGO()"),
            worst=None,
            cells=measured,
            synaptic_operations=None,
        ),
    ]
    header = make_header()
    paths = [write_row(row, tmp_path) for row in reversed(rows)]
    assert write_header(header, tmp_path) == tmp_path / "toy-table1-mini" / "table.json"
    assert paths[0] == tmp_path / "toy-table1-mini" / "at-s0.json"
    other = header.model_copy(update={"table": "a-table", "missing": {}, "order": (), "verdicts": ()})
    write_header(other, tmp_path)
    assert read_results(tmp_path) == [(other, []), (header, rows)]


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    cells = make_row().cells
    first = write_row(make_row(width=1.0, training_seconds=0.0), tmp_path).read_bytes()
    backwards = dict(reversed(cells.items()))
    again = make_row(width=1, training_seconds=-0.0, cells=backwards, defenses=())
    assert write_row(again, tmp_path).read_bytes() == first
    assert first.startswith(b'{\n  "schema": 2,\n  "table": "toy-table1",\n') and first.endswith(b"}\n")
    assert not list(tmp_path.rglob(".*"))


def test_only_tables_are_read(tmp_path: Path) -> None:
    write_header(make_header(), tmp_path)
    (tmp_path / "schema.json").write_text("{}")
    (tmp_path / "toy-table1-mini" / "README.md").write_text("words")
    (tmp_path / "toy-table1-mini" / ".vanilla-s0.json.1.tmp").write_text("{")
    (tmp_path / "pictures").mkdir()
    (tmp_path / ".git").mkdir()
    assert read_results(tmp_path) == [(make_header(), [])]


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("schema", 3, "'schema' should be 2, got 3"),
        ("schema", True, "'schema' should be 2, got True"),
        ("schema", 2.0, "'schema' should be a whole number, got 2.0"),
        ("schema", 1.0, "'schema' should be a whole number, got 1.0"),
        ("table", "Toy", "'table' should be lower-case letters and digits"),
        ("table", "../toy", "'table'"),
        ("row", "a--b", "'row' should be lower-case"),
        ("row", "vanilla\n", "'row'"),
        ("row", "a" * 81, "'row' should have at most 80 characters"),
        ("scale", "huge", "'scale' should be 'mini', 'short' or 'full', got 'huge'"),
        ("label", "", "'label' should have at least 1 character, got ''"),
        ("label", "a\nb", "'label' should be a text of one printable line"),
        ("label", "turned \u202e round", "'label' should be a text of one printable line"),
        ("data_note", None, "'data_note' should be a text, got None"),
        ("classes", 1, "'classes' should be greater than or equal to 2, got 1"),
        ("classes", 10.0, "'classes' should be a whole number"),
        ("width", 0, "'width' should be greater than 0, got 0"),
        ("width", "wide", "'width' should be a number, got 'wide'"),
        ("defenses", "AT", "'defenses' should be a list, got 'AT'"),
        ("defenses", [1], "'defenses[0]' should be a text"),
        ("recipe_hash", "xyz", "'recipe_hash' should be 8 to 64 hexadecimal digits"),
        ("seed", -1, "'seed' should be greater than or equal to 0, got -1"),
        ("threads", 0, "'threads' should be greater than or equal to 1, got 0"),
        ("training_seconds", -0.1, "'training_seconds' should be greater than or equal to 0, got -0.1"),
        ("audit_seconds", float("inf"), "'audit_seconds' should be a finite number"),
        ("peak_memory_bytes", 1.5, "'peak_memory_bytes' should be a whole number, got 1.5"),
        ("eps", 0, "'eps' should be greater than 0, got 0"),
        ("eps", 8, "'eps' should be less than or equal to 1, got 8"),
        ("clean.samples", 0, "'clean.samples' should be greater than or equal to 1, got 0"),
        ("clean.samples", 10**400, "'clean.samples' should be less than or equal to 9007199254740991, got 1000"),
        ("clean.correct", -1, "'clean.correct' should be greater than or equal to 0, got -1"),
        ("clean.correct", 201, "'clean.correct' should be at most the 200 samples, not 201"),
        ("protocol.correct", True, "'protocol.correct' should be a whole number"),
        ("protocol", 45.0, "'protocol' should be a JSON object, got 45.0"),
        ("cells.Clean.count.correct", 201, "'cells.Clean.count.correct' should be at most the 200 samples"),
        ("cells.Clean.value", 1.0, "'cells.Clean.value' should be null beside a count"),
        ("cells.Clean.published", float("nan"), "'cells.Clean.published' should be a finite number"),
        ("cells.Clean.published", 101, "'cells.Clean.published' should be a percentage"),
        ("cells.Clean.extra", 1, "'cells.Clean.extra' is no field that belongs there"),
        ("cells.PGD-20", {"count": None, "value": None, "published": 1}, "'cells.PGD-20' should be a column"),
        ("cells", [], "'cells' should be a JSON object"),
        ("worst.battery", "", "'worst.battery' should have at least 1 character"),
        ("worst.count.correct", 101, "'worst.count.correct' should be at most the 100 samples"),
        ("worst.count.correct", 81, "'worst.count.correct' should be at most the protocol 80, not 81"),
        ("clean", {"correct": 80, "samples": 90}, "'worst.count.samples' should be at most clean's 90, not 100"),
        ("worst.protocol.samples", 99, "'worst.protocol.samples' should be the worst case's 100"),
        ("worst.flags", [""], "'worst.flags"),
        ("synaptic_operations", -1, "'synaptic_operations' should be greater than or equal to 0, got -1"),
        ("worst_case", 1, "'worst_case' is no field that belongs there"),
        ("table", "other-table", "should be other-table-mini/vanilla-s0.json"),
        ("seed", 1, "should be toy-table1-mini/vanilla-s1.json"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path: Path, refuses: Callable, place: str, value: Any, expected: str) -> None:
    write_header(make_header(), tmp_path)
    path = change(write_row(make_row(), tmp_path), place, value)
    with refuses(path, expected):
        read_results(tmp_path)
    with refuses(path, expected):
        check_results([tmp_path])


def test_an_interval_that_is_not_its_counts_is_refused(tmp_path: Path, refuses: Callable) -> None:
    path = write_row(make_row(), tmp_path)
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["worst"]["count"] == {"correct": 50, "samples": 100, "interval": [40.38, 59.62]}
    change(path, "worst.count.interval", [40.38, 59.7])
    with refuses(path, "'worst.count.interval' should be [40.38, 59.62] for 50 of 100"):
        check_results([path])
    path.write_text(json.dumps(without_intervals(held)), encoding="utf-8")
    assert check_results([path]) == "1 row in 1 table is valid."


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", b"\xff", '{"schema": 1, "schema": 1}'])
def test_a_file_that_is_no_row(tmp_path: Path, refuses: Callable, text: str | bytes) -> None:
    write_header(make_header(), tmp_path)
    path = tmp_path / "toy-table1-mini" / "vanilla-s0.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with refuses(path):
        read_results(tmp_path)


def test_a_field_is_missing(tmp_path: Path, refuses: Callable) -> None:
    path = write_row(make_row(), tmp_path)
    content = json.loads(path.read_text())
    del content["worst"]["count"]["samples"]
    path.write_text(json.dumps(content))
    with refuses(path, "the field 'worst.count.samples' is missing"):
        check_results([path])


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("columns", ["Clean", "Clean"], "'columns' should be a list without repetitions"),
        ("order", ["At"], "'order[0]' should be lower-case"),
        ("missing", {"nobody": "?"}, "'missing.nobody' should be a row that 'order' names"),
        ("missing", {"No Slug": "?"}, "'missing.No Slug' should be lower-case"),
        ("title", "", "'title' should have at least 1 character"),
        ("verdicts", [{"text": "a", "column": "b", "difference": 1, "p": 0.1}], "'verdicts[0].column' should be a"),
        (
            "verdicts",
            [{"text": "a", "column": "Clean", "difference": None, "p": 0.1}],
            "'verdicts[0].p' should be null",
        ),
        (
            "verdicts",
            [{"text": "a", "column": "Clean", "difference": 1, "p": 1.1}],
            "'verdicts[0].p' should be less than or equal to 1, got 1.1",
        ),
        ("scale", "short", "should be toy-table1-short/table.json"),
    ],
)
def test_a_wrong_header_is_one_sentence(
    tmp_path: Path, refuses: Callable, place: str, value: Any, expected: str
) -> None:
    path = change(write_header(make_header(), tmp_path), place, value)
    with refuses(path, expected):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"label": "Another"}, "label"),
        ({"width": 1.0}, "width"),
        ({"eps": 0.5}, "eps"),
        ({"clean": count(180, 300)}, "clean.samples"),
        ({"worst": None}, "worst.battery"),
        ({"worst": make_worst(10, 20, 50)}, "worst.count.samples"),
        ({"cells": {"Clean": cell(180, 90.0)}}, "cells"),
    ],
)
def test_seeds_of_a_row_share_its_setting(
    tmp_path: Path, refuses: Callable, changes: dict[str, Any], field: str
) -> None:
    write_header(make_header(), tmp_path)
    write_row(make_row(), tmp_path)
    path = write_row(make_row(seed=1, **changes), tmp_path)
    with refuses(path, f"{field!r} should be as in vanilla-s0.json"):
        read_results(tmp_path)


def test_seeds_of_a_row_share_their_images(tmp_path: Path, refuses: Callable) -> None:
    """As far as they are known: a file from before has none, and is read."""
    write_header(make_header(), tmp_path)
    older = write_row(make_row(), tmp_path)
    held = json.loads(older.read_text())
    assert held.pop("images") == ""
    older.write_text(json.dumps(held))
    write_row(make_row(seed=1, images="ab" * 8), tmp_path)
    ((_, rows),) = read_results(tmp_path)
    assert [row.images for row in rows] == ["", "ab" * 8]
    path = write_row(make_row(seed=2, images="cd" * 8), tmp_path)
    with refuses(path, "'images' should be as in vanilla-s1.json"):
        read_results(tmp_path)
    with refuses("'images'"):
        write_row(make_row(seed=2, images="of mine"), tmp_path)


def test_what_cannot_be_read_is_not_written(tmp_path: Path, refuses: Callable) -> None:
    with refuses("vanilla-s0.json of toy-table1-mini", "'eps'"):
        write_row(make_row(eps=float("nan")), tmp_path)
    over = count(180).model_copy(update={"correct": 201})
    with refuses("'clean.correct' should be at most the 200 samples, not 201"):
        write_row(make_row(clean=over), tmp_path)
    with refuses("table.json of toy-table1-mini", "'verdicts[0].column'"):
        write_header(make_header(verdicts=(Verdict(text="a", column="b", difference=None, p=None),)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_without_their_table(tmp_path: Path, refuses: Callable) -> None:
    path = write_row(make_row(), tmp_path)
    for given in (tmp_path, path.parent):
        with refuses(path.parent, "no table.json"):
            check_results([given])
    assert check_results([path]) == "1 row in 1 table is valid."


def test_check_counts_each_row_once(tmp_path: Path, refuses: Callable) -> None:
    table = write_header(make_header(), tmp_path)
    with refuses("There is no result"):
        check_results([tmp_path])
    paths = [write_row(make_row(seed=seed), tmp_path) for seed in range(2)]
    write_header(make_header(table="other", verdicts=(), order=(), missing={}), tmp_path)
    write_row(make_row(table="other"), tmp_path)
    assert check_results([table]) == check_results([table.parent, paths[0]]) == "2 rows in 1 table are valid."
    assert check_results([tmp_path, table.parent, *paths]) == "3 rows in 2 tables are valid."
    with refuses("nowhere"):
        check_results([tmp_path / "nowhere"])
