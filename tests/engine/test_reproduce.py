"""The runner: nothing twice, what changed again, failures told and survived, kills survived byte for byte."""

import dataclasses
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_table import OTHER, TABLE, VANILLA, do, plan

from spikeproof.audit import AuditConfig
from spikeproof.disk import sealed
from spikeproof.engine import Circumstances, InProcess, Store, TablePlan, dry_run, make_pool
from spikeproof.engine.execute import is_busy
from spikeproof.engine.gather import _untestable, gather
from spikeproof.engine.keys import audit_key, network_key
from spikeproof.engine.pools import attempt
from spikeproof.errors import SpikeproofError
from spikeproof.machine import precision
from spikeproof.recipes import Recipe
from spikeproof.results import read_results
from spikeproof.runs import RunFolder
from spikeproof.tables import TABLES


def around(store):
    return Circumstances(store, None, "test", False)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a whole run, and its text."""
    out = tmp_path_factory.mktemp("whole")
    text, failed = do(out)
    assert failed == {}
    return out, text


class Counting(InProcess):
    """Says which tasks were begun."""

    def __init__(self):
        super().__init__()
        self.labels = []

    def start(self, task, around):
        self.labels.append(task.label)
        super().start(task, around)


@pytest.mark.sweep
def test_every_cell_stands_beside_the_published_one(done):
    out, text = done
    ((header, rows),) = read_results(out / "results")
    assert tuple(row.row for row in rows) == header.order == ("vanilla", "reg", "mpd-sgr")
    assert header.missing == {}
    vanilla = next(row for row in rows if row.row == "vanilla")
    assert vanilla.cells["PGD"].published == 1.5
    assert vanilla.cells["PGD"].count.samples == 30
    assert vanilla.cells["Noise"].count.correct >= vanilla.cells["PGD"].count.correct
    assert vanilla.cells["Black box"].count.correct >= vanilla.cells["PGD"].count.correct
    assert 0 < vanilla.cells["Proximal"].value < 1
    assert vanilla.worst.count.samples == 20
    assert vanilla.worst.count.correct <= vanilla.worst.protocol.correct
    assert vanilla.recipe_hash == network_key(VANILLA)
    # Asked for was "auto": a network's address says so, and the row says what ran.
    assert VANILLA.train.precision == VANILLA.audit.precision == "auto"
    ran = RunFolder(Store(out / "store").network(VANILLA)).precision
    assert (vanilla.training_precision, vanilla.crafting_precision) == (ran, "fp32") and ran in ("fp32", "bf16")
    assert vanilla.synaptic_operations > 0
    assert "(1.5)" in text


def test_the_calibration_takes_what_costs_the_published_price(done):
    out, _ = done
    ((header, rows),) = read_results(out / "results")
    made, store = plan(), Store(out / "store")
    (choice,) = made.choices(store, made.rows[2])
    distances = [abs(accuracy - (choice.reference - 0.01)) for accuracy in choice.accuracies]
    assert distances[choice.index] == min(distances)
    assert header.choices == (choice.sentence(),)
    assert choice.sentence().startswith(f"eta: eta {(0.1, 1.0)[choice.index]}, whose validation accuracy")
    chosen = choice.calibration.candidates[choice.index]
    assert next(row for row in rows if row.row == "mpd-sgr").defenses == (str(chosen),)


@pytest.mark.parametrize("drop", [60.0, None], ids=["missed", "paid"])
def test_a_claim_about_a_method_at_another_price_is_not_testable(done, drop):
    out, _ = done
    store, (held,) = Store(out / "store"), TABLE.calibrations
    (choice,) = plan().choices(store, TABLE.rows[2])
    if drop is None:  # exactly what was paid
        drop = 100 * (choice.reference - choice.accuracies[choice.index])
    (held,) = (dataclasses.replace(held, drop=drop),)
    made = dataclasses.replace(plan(), table=dataclasses.replace(TABLE, calibrations=(held,)))
    choices = {row.name: made.choices(store, row) for row in TABLE.rows}
    why = [_untestable(claim, choices) for claim in TABLE.claims]
    if drop == 60.0:
        assert all(text.startswith("eta misses its published price by +") for text in why)
        assert "and the nearest misses it by +" in choices["mpd-sgr"][0].sentence()
    else:
        assert why == ["", ""] and choices["mpd-sgr"][0].miss is None


def test_nothing_is_done_twice_and_the_table_is_the_same(done):
    out, text = done
    before = files(out)
    pool = Counting()
    again, _ = do(out, pool)
    assert pool.labels == []
    assert again == text
    assert files(out) == before


def test_a_changed_field_redoes_only_what_depends_on_it(done, tmp_path):
    out, _ = done
    made = plan()
    store = Store(out / "store")
    longer = dataclasses.replace(TABLE, audit=dataclasses.replace(TABLE.audit, seed=1))
    for task in dataclasses.replace(made, table=longer).tasks(store):
        assert store.trained(task.recipe)
        assert not task.audits or not store.done(task)
    rows = [dataclasses.replace(row, recipe=_longer(row.recipe)) if row.name == "reg" else row for row in TABLE.rows]
    changed = dataclasses.replace(made, rows=tuple(rows))
    assert [task.label for task in changed.tasks(store) if not store.done(task)] == ["Digits: REG, seed 0"]


def _longer(recipe):
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=4))


def test_a_failure_is_told_and_stops_nothing_else(done, tmp_path):
    rows = [
        dataclasses.replace(
            row, recipe=dataclasses.replace(VANILLA, data=dataclasses.replace(VANILLA.data, name="cifar1"))
        )
        if row.name == "reg"
        else row
        for row in TABLE.rows
    ]
    # The other rows are done already, in a copy of the store that shares nothing.
    out, _ = done
    made = dataclasses.replace(plan(), rows=tuple(rows))
    text, failed = do(out, made=made)
    assert [task.label for task in failed] == ["Digits: REG, seed 0"]
    assert "cifar1" in text
    ((header, found),) = read_results(out / "results")
    assert "cifar1" in header.missing["reg"]
    assert {row.row for row in found} == {"vanilla", "mpd-sgr"}  # REG's old file was of another setting
    do(out)  # as it was, for the other tests


def test_a_few_rows_leave_the_table_whole(done):
    out, text = done
    before = files(out / "results")
    again, _ = do(out, made=dataclasses.replace(plan(), rows=plan().rows[:1]))
    assert again == text
    assert files(out / "results") == before


def test_any_crash_fails_one_network_only(done, monkeypatch):
    out, _ = done

    def crash(*_, **__):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr("spikeproof.engine.execute.train_recipe", crash)
    rows = tuple(
        dataclasses.replace(row, recipe=_longer(row.recipe)) if row.name != "mpd-sgr" else row for row in plan().rows
    )
    _, failed = do(out, made=dataclasses.replace(plan(), rows=rows))
    assert {task.label: why for task, why in failed.items()} == {
        "Digits: Vanilla, seed 0": "RuntimeError: out of memory",
        "Digits: REG, seed 0": "RuntimeError: out of memory",
    }
    monkeypatch.undo()
    do(out)


def test_results_from_elsewhere_stay(done, tmp_path, monkeypatch):
    shutil.copytree(done[0] / "results", tmp_path / "results")
    before = files(tmp_path / "results")

    def crash(*_, **__):
        raise RuntimeError("no data here")

    monkeypatch.setattr("spikeproof.engine.execute.train_recipe", crash)
    _, failed = do(tmp_path)
    assert failed
    rows = {path: text for path, text in before.items() if path.name != "table.json"}
    assert rows.items() <= files(tmp_path / "results").items()
    ((header, _),) = read_results(tmp_path / "results")
    ((whole, _),) = read_results(done[0] / "results")
    assert header.verdicts == whole.verdicts
    assert header.choices == whole.choices


def test_other_images_than_before_are_refused(done, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(done[0] / "store", store.root)
    task = plan().tasks(store)[0]
    shutil.rmtree(store.network(task.recipe) / "audits")
    facts = store.facts(task.recipe)
    held = json.loads(facts.read_text())
    facts.write_text(json.dumps(sealed(held | {"images": held["images"] | {"test": "0" * 16}})))
    whole = next(each for each in plan().tasks(store) if each.audits and each.key == task.key)
    outcome = attempt(whole, around(store))
    assert outcome.status == "failed"
    assert "has other images" in outcome.why


def gathered(store):
    """The rows and verdicts that a store gives."""
    return gather(plan(), store, {}, before=None, seeds=(), private=store.root)


@pytest.fixture
def copied(done, tmp_path):
    """A store of one's own."""
    store = Store(tmp_path / "store")
    shutil.copytree(done[0] / "store", store.root)
    return store


@pytest.mark.parametrize("flips", [3, pytest.param(60, marks=pytest.mark.thorough)])
def test_no_flipped_digit_goes_into_a_row(copied, flips):
    """Of every file of a network: each is as it was, or the table says which one is damaged."""
    whole = gathered(copied)
    draw, said, unseen = random.Random(0), 0, set()
    (task,) = (each for each in plan().tasks(copied) if each.label == "Digits: Vanilla, seed 0" and each.audits)
    network = copied.network(task.recipe)
    texts = [path for kind in ("*.json", "metrics.jsonl") for path in network.rglob(kind)]
    assert {"audit.json", "facts.json", "config.json", "metrics.jsonl"} < {path.name for path in texts}
    for path in texts:
        content = path.read_bytes()
        digits = [at for at, letter in enumerate(content) if chr(letter).isdigit()]
        for at in draw.sample(digits, min(flips, len(digits))):
            flipped = content[:at] + str((content[at] - 47) % 10).encode() + content[at + 1 :]
            path.write_bytes(flipped)
            try:
                if gathered(copied) != whole:
                    unseen.add(path.name)
            except SpikeproofError as error:
                said += 1
                assert path.name in str(error)
        path.write_bytes(content)
    assert not unseen and said >= 2 * flips
    for path in network.rglob("outcomes.parquet"):
        content = path.read_bytes()
        path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    with pytest.raises(SpikeproofError, match="outcomes.parquet is damaged"):
        gathered(copied)


def test_rows_of_other_images_are_left_out_and_told(copied):
    """Audits of two copies of the data are no table, and no McNemar test."""
    tasks = [each for each in plan().tasks(copied) if each.audits and "MPD-SGR" in each.label]
    for audit in tasks[0].audits:
        path = copied.audit(tasks[0].recipe, audit) / "audit.json"
        path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {"audited_images": "0" * 16})))
    header, rows = gathered(copied)
    assert {row.row for row in rows} == {"vanilla", "reg"}
    assert "audited on other images of digits" in header.missing["mpd-sgr"]
    assert all(verdict.difference is None for verdict in header.verdicts)


def test_stopping_ends_what_runs(tmp_path):
    pool = make_pool(None, 2, tmp_path, {})
    store = Store(tmp_path / "store")
    pool.start(plan().tasks(store)[0], around(store))
    pool.stop()
    assert multiprocessing.active_children() == []
    assert not store.trained(VANILLA)


def test_a_substitute_that_fails_takes_its_rows_along(done):
    out, _ = done
    broken = dataclasses.replace(OTHER, data=dataclasses.replace(OTHER.data, name="cifar1"))
    rows = tuple(dataclasses.replace(row, substitute=broken) for row in plan().rows[:1])
    _, failed = do(out, made=dataclasses.replace(plan(), rows=rows))
    assert {why.split(",")[0] for why in failed.values()} >= {"it needs substitute"}
    do(out)


@pytest.mark.thorough
def test_several_processes_give_the_same_table(done, tmp_path):
    _, text = done
    again, failed = do(
        tmp_path, make_pool(None, 2, tmp_path, {}), made=dataclasses.replace(plan(), rows=plan().rows[:2])
    )
    assert failed == {}
    lines = [line for line in text.splitlines() if line.startswith(("| Vanilla", "| REG"))]
    assert lines
    assert all(line in again.splitlines() for line in lines)


@pytest.mark.thorough
def test_ten_kills_leave_the_table_as_it_would_have_been(tmp_path):
    script = Path(__file__).with_name("small_table.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "hits").read_text()) == 10
    assert (tmp_path / "killed" / "table.md").read_bytes() == (tmp_path / "undisturbed" / "table.md").read_bytes()
    calm, shaken = (tmp_path / out / "store" for out in ("undisturbed", "killed"))
    assert set(files(calm)) == set(files(shaken))  # no half-written file stays either
    for path in (tmp_path / "undisturbed" / "store" / "networks").rglob("model.safetensors"):
        twin = tmp_path / "killed" / path.relative_to(tmp_path / "undisturbed")
        assert twin.read_bytes() == path.read_bytes()


def test_the_same_network_is_never_done_by_two_at_once(done):
    out, _ = done
    store = Store(out / "store")
    lock = store.lock(VANILLA)
    script = (
        f"import fcntl, sys; file = open({str(lock)!r}, 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert is_busy(store, VANILLA)
        assert attempt(plan().tasks(store)[0], around(store)).status == "busy"
    finally:
        holder.communicate("")
    assert not is_busy(store, VANILLA)


def test_a_dry_run_says_whether_the_data_is_at_hand(tmp_path, monkeypatch):
    of_cifar = TablePlan.of(TABLES["tgo-main"], "mini", seeds=(0,), only=["bptt"])
    folder = tmp_path / "data"

    def said():
        return dry_run(of_cifar, Store(tmp_path / "store"), 1, folder).splitlines()[-2]

    assert said() == f"Data: cifar10 is missing: there is no file {folder / 'cifar10' / 'train.parquet'}."
    (folder / "cifar10").mkdir(parents=True)
    for split in ("train", "test"):
        (folder / "cifar10" / f"{split}.parquet").touch()
    assert said() == "Data: cifar10 is at hand."
    monkeypatch.delenv("SPIKEPROOF_DATA_DIR", raising=False)
    folder = None
    assert said().startswith("Data: cifar10 comes from the Hugging Face hub")


def test_a_dry_run_does_nothing_and_says_what_it_would(tmp_path):
    text = dry_run(plan(), Store(tmp_path), 1)
    assert list(tmp_path.iterdir()) == []
    # The reference and vanilla, which are one network; two candidates; the substitute; REG; and what is not known yet.
    assert [line.split("  ")[0].strip() == "after calibration" for line in text.splitlines()[:-1]].count(True) == 1
    lines = text.splitlines()
    assert str(tmp_path) in lines[0] and "leave out --dry-run" in lines[0]
    assert sum("to do" in line for line in lines[2:]) == 7
    assert "after calibration  to do" in text
    assert text.splitlines()[-1].startswith("About 0.")
    # What --rows takes stands behind the label that the table has.
    for row in TABLE.rows:
        assert f"{row.label}, seed 0 ({row.name})\n" in text


def test_a_precision_is_addressed_as_it_is_asked(monkeypatch):
    """Whatever machine asks; of an audit auto means fp32 everywhere, so they are one."""
    auto, wide, narrow = (
        dataclasses.replace(VANILLA, train=dataclasses.replace(VANILLA.train, precision=each))
        for each in ("auto", "fp32", "bf16")
    )
    assert len({network_key(each) for each in (auto, wide, narrow)}) == 3
    before = network_key(auto)
    for native in (True, False):
        monkeypatch.setattr(precision, "native_bf16", lambda device, native=native: native)
        assert network_key(auto) == before
    keys = [audit_key("a", AuditConfig(precision=each)) for each in ("auto", "fp32", "bf16")]
    assert keys[0] == keys[1] != keys[2]


def test_the_key_is_of_what_decides_the_weights():
    assert network_key(VANILLA) != network_key(OTHER)
    assert network_key(VANILLA) == network_key(dataclasses.replace(VANILLA, name="x"))
    assert network_key(Recipe(name="a")) == network_key(Recipe(name="b"))


def test_unknown_rows_are_refused(refuses):
    with refuses("no row 'moon'", "vanilla, reg, mpd-sgr"):
        TablePlan.of(TABLE, "full", seeds=(0,), only=("moon",))
    with refuses("--seeds"):
        TablePlan.of(TABLE, "full", seeds=())
    with refuses("from 0 on, not -1"):
        TablePlan.of(TABLE, "full", seeds=(0, -1))


@pytest.mark.thorough
def test_the_local_cluster_gives_the_same_row(done, tmp_path):
    pytest.importorskip("submitit")
    _, text = done
    made = dataclasses.replace(plan(), rows=plan().rows[:1])
    pool = make_pool("local", 1, tmp_path / "jobs", {})
    again, failed = do(tmp_path, pool, made=made)
    assert failed == {}
    (line,) = [line for line in text.splitlines() if line.startswith("| Vanilla")]
    assert line in again.splitlines()


def test_a_cluster_that_is_none_is_refused(tmp_path, refuses):
    pytest.importorskip("submitit")
    with refuses("moon"):
        make_pool("moon", 1, tmp_path, {})
    with refuses("timeout_min"):
        make_pool("local", 1, tmp_path, {"timeout_min": "1:00"})
    with refuses("one network in one process"):
        make_pool("local", 1, tmp_path, {"tasks_per_node": 2})


def test_rows_name_the_command_that_repeats_them(done):
    out, _ = done
    held = json.loads(next((out / "results").rglob("vanilla-s0.json")).read_text())
    assert held["command"] == "spikeproof reproduce small --scale full --rows vanilla --seeds 0"
