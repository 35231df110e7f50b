"""The commands on their happy paths."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import spikeproof
from spikeproof.audit import AuditConfig, Shard
from spikeproof.cli import tables
from spikeproof.recipes import DIGITS, RECIPES

SPIKEPROOF = Path(sys.executable).with_name("spikeproof")
TRIALS = ("FGSM", "PGD-2", "SA-PGD-3@ASSG")
RUN_FILES = {".lock", "config.json", "metrics.jsonl", "model.safetensors"}
AUDIT_FILES = {".lock", "outcomes.parquet", "audit.json", "pictures.npz"}


def names_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def two_quick_demos(monkeypatch):
    """The demo, cut to two of its recipes and to a second each."""
    quick = [
        dataclasses.replace(
            recipe,
            data=dataclasses.replace(recipe.data, train_limit=256, validation=50),
            train=dataclasses.replace(recipe.train, epochs=1, device="cpu"),
            audit=AuditConfig(eps=0.1, samples=20, battery=None, trials=TRIALS, tune_samples=0, diagnostics=False),
        )
        for recipe in DIGITS[:2]
    ]
    monkeypatch.setattr(tables, "DIGITS", quick)
    return quick


def test_train_audit_report(call, train_words, tmp_path, audit_in):
    folder = tmp_path / "deep" / "run"
    code, out, err = call(*train_words(folder, model__neuron__surrogate="sigmoid(2.5)", audit__eps="8/255"))
    assert code == 0
    assert f"spikeproof audit {folder}" in out
    assert err.startswith("demo-digits-vanilla: epoch 1/1")
    assert names_in(folder) == RUN_FILES
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["model"]["neuron"]["surrogate"] == {"name": "Sigmoid", "alpha": 2.5}
    assert config["recipe"]["train"]["epochs"] == 1
    assert config["recipe"]["audit"]["eps"] == 8 / 255
    assert config["recipe"]["audit"]["sweep"] == [0.05]
    assert config["command"].startswith("spikeproof train demo-digits-vanilla --train.epochs 1")
    assert "'sigmoid(2.5)'" in config["command"]  # quoted, so that it can be pasted

    code, out, _ = call("audit", folder, "--device", "cpu", "--trials", "PGD-2", "SA-PGD-4@ASSG")
    assert code == 0
    assert names_in(folder) == RUN_FILES | {"audits", "report.html"}
    assert names_in(audit_in(folder)) == AUDIT_FILES
    assert "demo-digits-vanilla" in out
    assert str(folder / "report.html") in out
    said = json.loads((audit_in(folder) / "audit.json").read_text())
    assert said["samples"] == 20
    assert said["threat"]["eps"] == 8 / 255
    assert [trial["name"] for trial in said["trials"]] == ["clean", "PGD-2", "SA-PGD-4@ASSG", "CURVES AND CHECKS"]
    assert said["command"] == f"spikeproof audit {folder} --device cpu --trials PGD-2 SA-PGD-4@ASSG"
    # The weights carry the surrogate too, so the windows are the sigmoid's: 4 / 2.5.
    assert {site["window"] for site in said["sites"]} == {1.6}

    code, out, err = call("report", folder, "--out", tmp_path / "page.html")
    assert (code, err) == (0, "")
    page = (tmp_path / "page.html").read_text()
    assert "demo-digits-vanilla" in page
    assert "http" not in page.lower().replace("http-equiv", "")


def test_a_run_twice_in_one_report_is_one_network(call, audited, tmp_path):
    code, out, _ = call("report", audited, audited, "--out", tmp_path / "page.html")
    assert code == 0
    page = (tmp_path / "page.html").read_text()
    assert "Robustness of demo-digits-vanilla in 2 audits" in page and "2 spiking networks" not in page
    assert not (audited / ".page.html").exists()


def test_an_unaudited_run_can_be_reported(call, trained):
    code, _, _ = call("report", trained)
    assert code == 0
    assert names_in(trained) == RUN_FILES | {"report.html"}


@pytest.mark.thorough
def test_demo_goes_on_where_it_was(call, two_quick_demos, tmp_path):
    code, out, _ = call("demo", "--out", tmp_path / "demo")
    assert code == 0
    assert names_in(tmp_path / "demo") == {"vanilla", "mpd-sgr", "report.html", ".locks"}
    assert names_in(tmp_path / "demo" / "vanilla") == RUN_FILES | {"audits"}
    assert all(recipe.name in out for recipe in two_quick_demos)

    def written():
        return {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "demo").rglob("*/*")) if path.is_file()}

    before = written()
    (tmp_path / "demo" / "report.html").unlink()
    code, again, _ = call("demo", "--out", tmp_path / "demo")
    assert (code, again) == (0, out)
    assert written() == before
    assert (tmp_path / "demo" / "report.html").exists()


def test_a_stopped_demo_says_how_to_go_on(call, two_quick_demos, monkeypatch, tmp_path):
    slow = [
        dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=400)) for recipe in two_quick_demos
    ]
    monkeypatch.setattr(tables, "DIGITS", slow)

    def stop():
        while not list(tmp_path.rglob("metrics.jsonl")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=stop)
    watcher.start()
    code, out, err = call("demo", "--out", tmp_path / "demo")
    watcher.join()
    assert (code, out) == (130, "")
    said = err.splitlines()[-1]
    assert said.startswith("spikeproof: stopped")
    # What it says must work: `demo` has no option --resume, it goes on by itself.
    assert "--resume" not in said


def test_recipes_lists_every_recipe(call):
    code, out, err = call("recipes")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()} >= set(RECIPES)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_usage_names_every_command(call, words):
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert all(f"spikeproof {name}" in out for name in ("demo", "recipes", "train", "audit", "report"))


def test_help_of_train_names_the_fields(call):
    code, out, err = call("train", "demo-digits-at-tgo", "--help")
    assert (code, err) == (0, "")
    for field in (
        "--train.epochs",
        "--data.train-limit",
        "--model.neuron.surrogate",
        "--at.eps",
        "--tgo.sigma",
        "--audit.eps",
        "--data-dir",
        "--out",
        "--resume",
    ):
        assert field in out


def test_help_tells_of_the_precision(call):
    _, out, _ = call("train", "mini-cifar10-at", "--help")
    for field in ("--train.precision", "--audit.precision"):
        told = out.partition(f"{field} {{auto,fp32,bf16}}")[2]
        assert "(default: auto)" in " ".join(told[:1000].replace("│", " ").split()).partition(" --")[0]
    assert "--at.precision" not in out
    _, _, err = call("train", "mini-cifar10-at", "--at.precision", "bf16")
    assert "perhaps you meant --train.precision" in err


def test_help_of_audit_names_the_fields(call, trained):
    code, out, err = call("audit", trained, "--help")
    assert (code, err) == (0, "")
    for field in ("--eps", "--samples", "--trials", "--battery", "--eot-iter", "--noise", "--sweep", "--device"):
        assert field in out


@pytest.mark.parametrize("command", ["demo", "report"])
def test_help_of_the_others(call, command):
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert "--out" in out


def test_version(call):
    assert call("--version") == (0, f"spikeproof {spikeproof.__version__}\n", "")


def test_overrides_reach_the_defenses_and_the_data(call, train_words, tmp_path, audit_in):
    words = train_words(
        tmp_path,
        "--data.classes",
        "3",
        "8",
        recipe="demo-digits-at-mpd-sgr",
        at__eps="4/255",
        mpd_sgr__eta=0.7,
        model__num_steps=2,
    )
    # The pair is a third of the digits: fewer images.
    words[words.index("--data.train-limit") + 1] = "128"
    assert call(*words)[0] == 0
    recipe = json.loads((tmp_path / "config.json").read_text())["recipe"]
    assert recipe["data"]["classes"] == [3, 8]
    assert recipe["at"]["eps"] == 4 / 255
    assert recipe["mpd_sgr"]["eta"] == 0.7
    assert call("audit", tmp_path, "--device", "cpu")[0] == 0
    labels = json.loads((audit_in(tmp_path) / "audit.json").read_text())
    assert labels["samples"] == 20


def test_audit_overrides_leave_the_run_alone(call, trained, audit_in):
    before = (trained / "config.json").read_text()
    code, _, _ = call(
        "audit", trained, "--device", "cpu", "--trials", "FGSM", "PGD-2", "--eps", "4/255", "--split", "validation"
    )
    assert code == 0
    said = json.loads((audit_in(trained) / "audit.json").read_text())
    assert (said["split"], said["threat"]["eps"]) == ("validation", 4 / 255)
    assert [trial["name"] for trial in said["trials"]] == ["clean", "FGSM", "PGD-2", "CURVES AND CHECKS"]
    assert (trained / "config.json").read_text() == before


@pytest.mark.thorough
def test_a_battery_from_the_command_line(call, trained, audit_in):
    """The recipe's own trials come on top unless others are named; tuning and flags are a part of it."""
    words = ["--battery", "quick", "--trials", "SQUARE-20", "--tune-samples", "10", "--samples", "12"]
    code, out, err = call("audit", trained, "--device", "cpu", *words)
    assert code == 0
    said = json.loads((audit_in(trained) / "audit.json").read_text())
    assert (said["version"], said["battery"], said["tuning"]["samples"]) == (4, "quick", 10)
    names = [trial["name"] for trial in said["trials"]]
    battery = ["FGSM", "PGD-20", "SA-PGD-20@ASSG", "APGD-CE-20@PDSG", "LOCAL-200", "SQUARE-20"]
    assert names == ["clean", *battery, "CURVES AND CHECKS"]
    assert [line.split(":")[0] for line in err.splitlines()] == ["batch 1/1"]
    assert "demo-digits-vanilla" in out
    assert names_in(audit_in(trained)) == AUDIT_FILES  # and no parts


def test_images_of_other_runs_are_tried_on_this_one(call, trained, tmp_path, audit_in):
    code, _, _ = call("audit", trained, "--device", "cpu", "--samples", "12", "--substitutes", trained)
    assert code == 0
    last = json.loads((audit_in(trained) / "audit.json").read_text())["trials"][-2]
    assert (last["name"], last["kind"]) == ("TRANSFER:PGD-20", "black-box")
    code, _, err = call("audit", trained, "--substitutes", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in err and err.count("\n") == 1


def test_an_audit_that_was_stopped_goes_on(call, trained, monkeypatch, audit_in):
    first = call("audit", trained, "--device", "cpu")
    assert first[0] == 0
    written = audit_in(trained) / "audit.json"
    undisturbed = written.read_text()
    engine = importlib.import_module("spikeproof.audit.engine")
    attack, attacked = engine.Engine._attack, []

    def stopped(self, trial, *arguments):
        attacked.append(trial.name)
        if attacked == ["FGSM", "PGD-2"]:
            raise KeyboardInterrupt
        return attack(self, trial, *arguments)

    monkeypatch.setattr(engine.Engine, "_attack", stopped)
    shutil.rmtree(trained / "audits")
    code, _, err = call("audit", trained, "--device", "cpu")
    assert (code, err) == (130, "spikeproof: stopped; the same command goes on with the attack it was at.\n")
    assert not written.exists()
    code, _, _ = call("audit", trained, "--device", "cpu")
    assert code == 0
    assert attacked[2:4] == ["PGD-2", "SA-PGD-3@ASSG"]
    assert names_in(written.parent) == AUDIT_FILES

    def timeless(text):
        return [line for line in text.splitlines() if '"seconds"' not in line and '"sha256"' not in line]

    assert timeless(written.read_text()) == timeless(undisturbed)


def test_only_the_first_process_tells_and_writes(call, trained, monkeypatch, audit_in):
    monkeypatch.setattr(Shard, "of_this_process", classmethod(lambda shard: shard(rank=1)))
    monkeypatch.setattr(Shard, "owns", lambda shard, job: True)  # of a world of one, whatever its number
    assert call("audit", trained, "--device", "cpu", "--trials", "FGSM") == (0, "", "")
    assert names_in(trained) == RUN_FILES | {"audits"}
    assert names_in(audit_in(trained)) == {"audit-parts"}  # which the first forgets when it has saved


def test_resume_of_a_finished_run_changes_nothing(call, trained, train_words):
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    code, out, _ = call(*train_words(trained, "--resume"))
    assert code == 0
    assert "is trained" in out
    assert {path.name: path.stat().st_mtime_ns for path in trained.iterdir()} == before


@pytest.mark.thorough
def test_the_installed_command(tmp_path):
    """What a shell in a narrow UTF-8 terminal sees; the tests in process see what others do."""
    done = subprocess.run(
        [SPIKEPROOF, "train", "demo-digits-vanilla", "--train.epoch", "3"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "40"},
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "--train.epochs" in done.stderr
    assert names_in(tmp_path) == set()


def test_a_defense_is_added_and_set(call, train_words, tmp_path):
    words = train_words(tmp_path / "run", "--with", "mpd-sgr", "--mpd-sgr.eta", "0.1", "--with", "reg")
    assert call(*words)[0] == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert recipe["mpd_sgr"]["eta"] == 0.1
    assert recipe["reg"] == {"beta": 0.001, "linear_rows": 0.3}
    assert "tgo" not in recipe


@pytest.mark.parametrize(
    ("coding", "recorded"),
    [
        ("rsc(sigma=0.2)", {"name": "RSC", "sigma": 0.2}),
        ("frequency(4/2/1/1)", {"name": "Frequency", "radii": [4, 2, 1, 1]}),
    ],
)
def test_a_coding_is_set_and_audited(call, train_words, tmp_path, coding, recorded, audit_in):
    assert call(*train_words(tmp_path / "run", model__coding=coding))[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["model"]["coding"] == recorded
    assert call("audit", tmp_path / "run", "--device", "cpu", "--samples", "5", "--eot-iter", "2")[0] == 0
    said = json.loads((audit_in(tmp_path / "run") / "audit.json").read_text())
    assert (said["noise"], said["eot_iter"]) == (("on", 2) if recorded["name"] == "RSC" else ("off", 2))


@pytest.mark.thorough
def test_compare_a_family(call, train_words, tmp_path):
    options = train_words(tmp_path / "runs")[2:]
    words = ["compare", "demo-digits", "--rows", "vanilla", "tgo", "--seeds", "0", "3", *options]
    code, out, err = call(*words, "--page", tmp_path / "page.md")
    assert (code, err.count("epoch 1/1")) == (0, 4)
    folders = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert folders - {".locks"} == {f"demo-digits-{row}-s{seed}" for row in ("vanilla", "tgo") for seed in (0, 3)}
    page = (tmp_path / "page.md").read_text()
    table = page.partition("What a row has over another")[0]
    assert table.count("| demo-digits-") == 2 and "| 2 |" in table
    assert (tmp_path / "runs" / "report.html").is_file()
    code, _, err = call(*words, "--page", tmp_path / "page.md")
    assert (code, err) == (0, "")
    assert (tmp_path / "page.md").read_text() == page
