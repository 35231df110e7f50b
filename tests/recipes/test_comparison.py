"""Comparisons: overrides that hold for every row, resumption, rows that fail, and the page."""

import dataclasses
import json
import re
from collections import Counter

import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import binomtest

from spikeproof.audit import AuditConfig
from spikeproof.coding import Poisson
from spikeproof.defenses import MPDSGR
from spikeproof.recipes import DIGITS, Share, one_more, overridden, run_comparison, write_comparison
from spikeproof.recipes.recipe import DataConfig
from spikeproof.report import read_page
from spikeproof.report.wording import chance
from spikeproof.spiking import Neuron, Rectangular
from spikeproof.train import TrainConfig

AUDIT = AuditConfig(
    eps=0.1, samples=20, battery=None, trials=("FGSM", "PGD-3"), tune_samples=0, diagnostics=False, sweep=()
)


@pytest.fixture
def rows():
    """Vanilla and AT on very few digits."""
    changes = {
        "data": DataConfig(name="digits", validation=50, train_limit=64),
        "train": TrainConfig(epochs=1, batch_size=32, augmentation=None, device="cpu", precision="fp32"),
        "audit": AUDIT,
    }
    return [dataclasses.replace(DIGITS[place], **changes) for place in (0, 3)]


def run(rows, out, **changes):
    options = {"seeds": (0,), "data_dir": None, "share": Share(), "command": "me"} | changes
    return run_comparison(rows, out, **options)


def test_overrides_reach_every_row_and_nothing_else(rows):
    after = dataclasses.replace(
        rows[0],
        model=dataclasses.replace(rows[0].model, width=0.5),
        train=dataclasses.replace(rows[0].train, epochs=7),
    )
    found = overridden(rows, rows[0], after)
    for before, changed in zip(rows, found, strict=True):
        assert changed.model == dataclasses.replace(before.model, width=0.5)
        assert changed.train == dataclasses.replace(before.train, epochs=7)
        assert (changed.name, changed.data, changed.audit, changed.defenses) == (
            before.name,
            before.data,
            before.audit,
            before.defenses,
        )
    assert overridden(rows, rows[0], rows[0]) == rows


def test_an_override_deep_inside_leaves_the_rest_of_a_row_alone(rows):
    own = dataclasses.replace(rows[1].model, neuron=Neuron(surrogate=Rectangular()))
    rows[1] = dataclasses.replace(rows[1], model=own)
    after = dataclasses.replace(rows[0], model=dataclasses.replace(rows[0].model, neuron=Neuron(decay=0.5)))
    first, second = overridden(rows, rows[0], after)
    assert (first.model.neuron, second.model.neuron) == (Neuron(decay=0.5), Neuron(decay=0.5, surrogate=Rectangular()))


def test_seeds_have_an_option_of_their_own(rows, refuses):
    seeded = dataclasses.replace(rows[0], train=dataclasses.replace(rows[0].train, seed=3))
    with refuses("--seeds"):
        overridden(rows, rows[0], seeded)


def test_rows_of_other_settings_are_not_taken_for_these(rows, tmp_path, refuses):
    run(rows, tmp_path)
    longer = [dataclasses.replace(row, train=dataclasses.replace(row.train, epochs=2)) for row in rows]
    with refuses("train.epochs: 1 then, 2 now", "demo-digits-vanilla-s0"):
        run(longer, tmp_path)


@pytest.mark.parametrize("change", [{"name": "other"}, {"defenses": (MPDSGR(),)}], ids=str)
def test_what_is_a_rows_own_cannot_be_overridden(rows, change, refuses):
    with refuses("names and defenses"):
        overridden(rows, rows[0], dataclasses.replace(rows[0], **change))


@pytest.mark.parametrize("text", ["2/2", "\N{SUPERSCRIPT TWO}/3", "1", "a/2", "-1/2", "0/0", ""])
def test_a_share_is_one_of_so_many(text, refuses):
    with refuses("0/2", repr(text)):
        Share.parse(text)
    assert Share.parse("1/2") == Share(1, 2)


def test_shares_do_every_row_once_and_a_second_call_nothing(rows, tmp_path):
    first = run(rows, tmp_path, seeds=(0, 1), share=Share(0, 2))
    done = {path.parents[2].name for path in tmp_path.glob("*/audits/*/audit.json")}
    assert done == {"demo-digits-vanilla-s0", "demo-digits-vanilla-s1"}
    second = run(rows, tmp_path, seeds=(0, 1), share=Share(1, 2))
    assert first == second
    folders = [folder for each in first.values() for folder, _ in each]
    places = [place for each in first.values() for _, place in each]
    assert all((place / "audit.json").is_file() for place in places) and len(places) == 4
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    run(rows, tmp_path, seeds=(0, 1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    seeds = [json.loads((folder / "config.json").read_text())["recipe"]["train"]["seed"] for folder in folders]
    assert seeds == [0, 1, 0, 1]


def test_a_row_that_fails_does_not_stop_the_others(rows, tmp_path, capsys):
    rows[0] = dataclasses.replace(rows[0], train=dataclasses.replace(rows[0].train, batch_size=1000))
    folders = run(rows, tmp_path)
    assert re.search(r"^spikeproof: demo-digits-vanilla, seed 0, is left out: .+$", capsys.readouterr().err, re.M)
    assert (folders["demo-digits-at"][0][1] / "audit.json").is_file()
    page = tmp_path / "page.md"
    write_comparison(folders, page, tmp_path / "report.html")
    assert "Not audited yet: demo-digits-vanilla." in page.read_text()


def test_rows_are_compared_image_by_image(rows, tmp_path):
    """What the page says is what the files say, counted anew."""
    folders, page = run(rows, tmp_path, seeds=(0, 1)), tmp_path / "page.md"
    assert one_more(rows) == [("demo-digits-at", "demo-digits-vanilla")]
    write_comparison(folders, page, tmp_path / "report.html", one_more(rows))
    header, line = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith(("| Row | Over", "| demo-digits-at | demo-digits-vanilla"))
    )
    assert header == ["Row", "Over", "Seeds", "clean", "FGSM", "PGD-3", "worst case"] and line[2] == "2"
    ps, written = [], []
    for column, cell in zip(header[3:], line[3:], strict=True):
        balance = Counter()
        for sign, name in ((1, "demo-digits-at"), (-1, "demo-digits-vanilla")):
            for _, place in folders[name]:
                right = {}
                for row in pq.read_table(place / "outcomes.parquet").to_pylist():
                    if row["eps"] in (0.0, 0.1) and (row["kind"] == "clean" or column in (row["trial"], "worst case")):
                        right[row["sample"]] = right.get(row["sample"], True) and row["correct"]
                balance.update({sample: sign * held for sample, held in right.items()})
        better, worse = (sum(sign * by > 0 for by in balance.values()) for sign in (1, -1))
        ps.append(binomtest(better, better + worse).pvalue if better + worse else 1.0)
        assert cell.startswith(f"{100 * balance.total() / len(balance) / 2:+.1f} (p ") or balance.total() == 0
        written.append(cell)
    smallest = min(range(4), key=lambda place: ps[place])
    assert written[smallest].endswith(f"({chance(min(1.0, 4 * ps[smallest]))})")


def test_the_page_keeps_what_stands_around_the_table(rows, tmp_path):
    folders, page = run(rows, tmp_path), tmp_path / "page.md"
    write_comparison(folders, page, tmp_path / "report.html")
    page.write_text("# Mine\n\nBefore.\n\n" + page.read_text().removeprefix("# Comparison\n") + "\nAfter.\n")
    written = page.read_text()
    write_comparison(folders, page, tmp_path / "report.html")
    assert page.read_text() == written
    header, _, *body = [line for line in written.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns[2:6] == ["Clean", "FGSM", "PGD-3", "Worst case"]
    for line, name in zip(body, folders, strict=True):
        cells = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        found = json.loads((folders[name][0][1] / "audit.json").read_text())
        assert cells["Row"] == name
        assert cells["Worst case"].startswith(f"**{100 * found['worst_case']['accuracy']:.1f}**")
        assert cells["Gap"] == f"{100 * found['masking_gap']:.1f}"
    assert "n = 20," in written
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(2**24)) > 3


def test_rows_audited_under_other_conditions_are_not_put_side_by_side(rows, tmp_path, refuses):
    rows[1] = dataclasses.replace(rows[1], audit=dataclasses.replace(AUDIT, eps=0.05))
    folders = run(rows, tmp_path)
    with refuses("other conditions", "demo-digits-at-s0"):
        write_comparison(folders, tmp_path / "page.md", tmp_path / "report.html")


def test_one_mark_without_the_other(rows, tmp_path, refuses):
    page = tmp_path / "page.md"
    page.write_text("text <!-- comparison: begin --> text")
    with refuses("marks", page):
        write_comparison(run(rows, tmp_path), page, tmp_path / "report.html")
    assert page.read_text() == "text <!-- comparison: begin --> text"


def test_pages_that_cannot_be_written(tmp_path, refuses):
    (tmp_path / "file").write_bytes(b"\xff\xfe\xff")
    for page in (tmp_path, tmp_path / "file" / "page.md", tmp_path / "file"):
        with refuses("--page", page):
            read_page(page)


@pytest.mark.thorough
def test_random_rows_tell_their_draws(rows, tmp_path):
    rows[1] = dataclasses.replace(
        rows[1],
        model=dataclasses.replace(rows[1].model, coding=Poisson()),
        audit=dataclasses.replace(AUDIT, eot_iter=2, judge_draws=130),
    )
    page = tmp_path / "page.md"
    write_comparison(run(rows, tmp_path), page, tmp_path / "report.html")
    assert "averaged over draws (a gradient's/a verdict's): demo-digits-at 2/130." in page.read_text()
