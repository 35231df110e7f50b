"""Comparisons: overrides that hold for every row, resumption, rows that fail, and the page."""

import contextlib
import dataclasses
import json
import re
import shutil
import threading
import time
from collections import Counter
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from spikeproof.audit import AuditConfig
from spikeproof.coding import Poisson
from spikeproof.defenses import MPDSGR
from spikeproof.disk import alone
from spikeproof.engine import (
    Circumstances,
    InProcess,
    NamedStore,
    TablePlan,
    compare,
    make_pool,
    runner,
    training_costs,
)
from spikeproof.recipes import DIGITS, audit_run, one_more, overridden, train_recipe
from spikeproof.recipes.recipe import DataConfig
from spikeproof.report import read_page, write_comparison
from spikeproof.report.numbers import chance
from spikeproof.runs import RunFolder
from spikeproof.spiking import Neuron, Rectangular
from spikeproof.tables import comparison
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


def run(rows, out, pool=None, **changes):
    """The audited runs of each row."""
    plan = TablePlan.of(comparison("few digits", rows), **({"seeds": (0,)} | changes))
    return compare(plan, pool or InProcess(), Circumstances(NamedStore(out), command="me"))[0]


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


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


@pytest.mark.thorough
def test_shares_do_every_row_once_and_a_second_call_nothing(rows, tmp_path):
    first = run(rows, tmp_path, seeds=(0, 1), share=(0, 2))
    done = {path.parents[2].name for path in tmp_path.glob("*/audits/*/audit.json")}
    assert done == {"demo-digits-vanilla-s0", "demo-digits-vanilla-s1"}
    second = run(rows, tmp_path, seeds=(0, 1), share=(1, 2))
    assert [len(first[row.name]) for row in rows] == [2, 0] and [len(second[row.name]) for row in rows] == [2, 2]
    before = files(tmp_path)
    assert run(rows, tmp_path, seeds=(0, 1)).keys() == second.keys()
    assert files(tmp_path) == before
    assert [run.config["recipe"]["train"]["seed"] for each in second.values() for run in each] == [0, 1, 0, 1]
    # Whoever has removed the weights of an audited network does not have it trained again.
    for weights in tmp_path.rglob("model.safetensors"):
        weights.unlink()
    assert [len(each) for each in run(rows, tmp_path, seeds=(0, 1)).values()] == [2, 2]
    assert not list(tmp_path.rglob("model.safetensors"))


class Watched(InProcess):
    """Says which tasks were begun, and what another process does meanwhile."""

    def __init__(self, meanwhile=lambda: None):
        super().__init__()
        self.labels, self.meanwhile = [], meanwhile

    def start(self, task, around):
        self.labels.append(task.label)
        super().start(task, around)
        self.meanwhile()


@pytest.mark.thorough
def test_two_processes_share_the_rows(rows, tmp_path, monkeypatch):
    """While one is at the first row, another does the second, and waits for the first to end."""
    monkeypatch.setattr(runner, "_PATIENCE", 0.01)
    store = NamedStore(tmp_path)
    begun, ended = threading.Event(), []

    def first_row():
        with alone(store.lock(rows[0]), "this network"):
            begun.set()
            while not list((tmp_path / "demo-digits-at-s0").glob("audits/*/audit.json")):
                time.sleep(0.01)
            ended.append("the second row is done")

    other = threading.Thread(target=first_row)
    other.start()
    begun.wait()
    pool = Watched()
    found = run(rows, tmp_path, pool)
    other.join()
    assert ended and pool.labels == ["demo-digits-at, seed 0", "demo-digits-vanilla, seed 0"]
    assert all(len(each) == 1 for each in found.values())


def test_a_run_that_somebody_is_at_is_tried_again_later(rows, tmp_path, monkeypatch, capsys):
    """A `spikeproof train` holds the run and no network of the store. It ends when the row is begun again."""
    monkeypatch.setattr(runner, "_PATIENCE", 0.2)
    lock, begun = contextlib.ExitStack(), []
    lock.enter_context(RunFolder(NamedStore(tmp_path).network(rows[0])).lock())

    def meanwhile():
        begun.append(time.monotonic())
        if len(begun) == 2:
            lock.close()

    found = run(rows[:1], tmp_path, Watched(meanwhile))
    assert len(begun) == 2 and begun[1] - begun[0] >= 0.2 and len(found["demo-digits-vanilla"]) == 1
    assert "demo-digits-vanilla, seed 0: another process is at it" in capsys.readouterr().err


def test_what_a_comparison_did_before_there_was_one_engine_is_taken_over(rows, tmp_path):
    """Its folders were those of `spikeproof train` and `spikeproof audit`: nothing is trained or audited again."""
    for row in rows:
        folder = tmp_path / f"{row.name}-s0"
        train_recipe(row, data_dir=None, out=folder, command="before", show=False)
        audit_run(folder, row.audit, data_dir=None, command="before", show=False)
    before, pool = files(tmp_path), Watched()
    found = run(rows, tmp_path, pool)
    assert pool.labels == [] and [len(each) for each in found.values()] == [1, 1]
    assert files(tmp_path) == before
    shutil.rmtree(tmp_path / "demo-digits-at-s0" / "audits")  # one that was stopped before its audit
    weights = tmp_path / "demo-digits-at-s0" / "model.safetensors"
    run(rows, tmp_path, pool)
    assert pool.labels == ["demo-digits-at, seed 0"]
    assert weights.stat().st_mtime_ns == before[weights.relative_to(tmp_path)]


def test_a_row_that_fails_does_not_stop_the_others(rows, tmp_path, capsys):
    rows[0] = dataclasses.replace(rows[0], train=dataclasses.replace(rows[0].train, batch_size=1000))
    found = run(rows, tmp_path)
    assert re.search(r"^demo-digits-vanilla, seed 0: failed: .+$", capsys.readouterr().err, re.M)
    assert [len(found[row.name]) for row in rows] == [0, 1]
    page = tmp_path / "page.md"
    write_comparison(found, training_costs(rows), page, tmp_path / "report.html")
    assert "Not audited yet: demo-digits-vanilla." in page.read_text()


def test_rows_are_compared_image_by_image(rows, tmp_path):
    """What the page says is what the files say, counted anew."""
    found, page = run(rows, tmp_path, seeds=(0, 1)), tmp_path / "page.md"
    assert one_more(rows) == [("demo-digits-at", "demo-digits-vanilla")]
    write_comparison(found, training_costs(rows), page, tmp_path / "report.html", one_more(rows))
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
            for run_of_seed in found[name]:
                right = {}
                for row in pq.read_table(run_of_seed.audited / "outcomes.parquet").to_pylist():
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
    found, page = run(rows, tmp_path), tmp_path / "page.md"
    write_comparison(found, training_costs(rows), page, tmp_path / "report.html")
    page.write_text("# Mine\n\nBefore.\n\n" + page.read_text().removeprefix("# Comparison\n") + "\nAfter.\n")
    written = page.read_text()
    write_comparison(found, training_costs(rows), page, tmp_path / "report.html")
    assert page.read_text() == written
    header, _, *body = [line for line in written.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns[2:6] == ["Clean", "FGSM", "PGD-3", "Worst case"]
    for line, name, cost in zip(body, found, training_costs(rows).values(), strict=True):
        cells = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        audit = json.loads((found[name][0].audited / "audit.json").read_text())
        assert (cells["Row"], cells["Training cost"]) == (name, f"{cost:.1f}x")
        assert cells["Worst case"].startswith(f"**{100 * audit['worst_case']['accuracy']:.1f}**")
        assert cells["Gap"] == f"{100 * audit['masking_gap']:.1f}"
    assert "n = 20," in written
    assert ElementTree.parse(tmp_path / "comparison.svg").getroot().tag.endswith("svg")


def test_rows_audited_under_other_conditions_are_not_put_side_by_side(rows, tmp_path, refuses):
    rows[1] = dataclasses.replace(rows[1], audit=dataclasses.replace(AUDIT, eps=0.05))
    found = run(rows, tmp_path)
    with refuses("other conditions", "demo-digits-at-s0"):
        write_comparison(found, training_costs(rows), tmp_path / "page.md", tmp_path / "report.html")


def test_one_mark_without_the_other(rows, tmp_path, refuses):
    page = tmp_path / "page.md"
    page.write_text("text <!-- comparison: begin --> text")
    with refuses("marks", page):
        write_comparison(run(rows, tmp_path), training_costs(rows), page, tmp_path / "report.html")
    assert page.read_text() == "text <!-- comparison: begin --> text"


def test_pages_that_cannot_be_written(tmp_path, refuses):
    (tmp_path / "file").write_bytes(b"\xff\xfe\xff")
    for page in (tmp_path, tmp_path / "file" / "page.md", tmp_path / "file"):
        with refuses("--page", page):
            read_page(page)


@pytest.mark.thorough
def test_two_jobs_make_the_same_runs_as_one(rows, tmp_path):
    one, two = run(rows, tmp_path / "one"), run(rows, tmp_path / "two", make_pool(None, 2, tmp_path, {}))
    for name, (alone_run,) in one.items():
        (beside,) = two[name]
        assert beside.audit.worst_case == alone_run.audit.worst_case
        weights = [(each.folder / "model.safetensors").read_bytes() for each in (alone_run, beside)]
        assert weights[0] == weights[1]


@pytest.mark.thorough
def test_random_rows_tell_their_draws(rows, tmp_path):
    rows[1] = dataclasses.replace(
        rows[1],
        model=dataclasses.replace(rows[1].model, coding=Poisson()),
        audit=dataclasses.replace(AUDIT, eot_iter=2, judge_draws=130),
    )
    page = tmp_path / "page.md"
    write_comparison(run(rows, tmp_path), training_costs(rows), page, tmp_path / "report.html")
    assert "averaged over draws (a gradient's/a verdict's): demo-digits-at 2/130." in page.read_text()
