"""The command line as people type it: help everywhere, hints at what was meant, tables and JSON, signs of life."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spikeproof.cli import main as entry
from spikeproof.cli import runs
from spikeproof.recipes import RECIPES

COMMANDS = (
    "demo",
    "recipes",
    "train",
    "audit",
    "compare",
    "report",
    "reproduce",
    "leaderboard",
    "submit",
    "check",
    "push",
)
SPIKEPROOF = Path(sys.executable).with_name("spikeproof")


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call, command, flag):
    code, out, err = call(command, flag)
    assert (code, err) == (0, "") and f"spikeproof {command}" in out and len(out) > 200


@pytest.mark.parametrize(
    ("command", "choices"),
    [
        ("train", ["vgg11", "wrn16", "cifar100", "tiny_imagenet", "superspike", "poisson", "--with", "mpd-sgr"]),
        ("audit", ["--norm", "linf", "l2", "reliable", "--force", "--json", "--quiet"]),
        ("compare", ["--seeds", "--json"]),
    ],
)
def test_help_lists_the_choices(call, command, choices):
    out = call(command, "--help")[1]
    assert [word for word in choices if word not in out] == []


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--seed", "--train.seed"),
        ("--lr", "--train.learning-rate"),
        ("--batch-size", "--train.batch-size"),
        ("--epoch", "--train.epochs"),
        ("--timesteps", "--model.num-steps"),
        ("--dataset", "--data.name"),
        ("--eps", "--audit.eps"),
        ("--sr.strength", "--with sr"),
        ("--mpd-sgr.eta", "--with mpd-sgr"),
    ],
)
def test_a_hint_at_what_was_meant(refused, tmp_path, option, meant):
    refused("train", "demo-digits-vanilla", option, "1", "--out", tmp_path / "x", says=[option, meant])
    assert not (tmp_path / "x").exists()


def names_in(out):
    return [line.split()[0] for line in out.splitlines()[1:]]


def test_recipes_are_a_table_of_which_words_take_a_part(call):
    code, out, err = call("recipes")
    assert (code, err) == (0, "") and names_in(out) == list(RECIPES)
    assert max(map(len, out.splitlines())) <= 150
    part = call("recipes", "WRN16", "mpd-sgr")[1]
    assert 0 < len(names_in(part)) < len(RECIPES) and all("wrn16" in line for line in part.splitlines()[1:])
    assert "poisson" in call("recipes", "mini-cifar10-poisson")[1].splitlines()[1].split(maxsplit=1)[1]
    assert "SuperSpike" in call("recipes", "mini-cifar10-superspike-mpd-sgr")[1]


def test_recipes_as_json(call):
    said = json.loads(call("recipes", "demo", "--json")[1])
    assert [each["name"] for each in said] == [name for name in RECIPES if "demo" in name]
    assert said[0]["data"]["name"] == "digits"


def test_an_audit_as_json(call, trained, audit_in):
    code, out, _ = call("audit", trained, "--device", "cpu", "--json", "--quiet")
    assert code == 0 and json.loads(out) == json.loads((audit_in(trained) / "audit.json").read_text())


def test_quiet_says_nothing_on_the_way(call, train_words, tmp_path):
    code, _, err = call(*train_words(tmp_path / "run", "--quiet"))
    assert (code, err) == (0, "")
    assert call("audit", tmp_path / "run", "--device", "cpu", "--quiet")[::2] == (0, "")


@pytest.mark.thorough
def test_compare_prints_its_table_and_json(call, train_words, tmp_path):
    words = ["compare", "demo-digits", "--rows", "vanilla", *train_words(tmp_path / "runs")[2:], "--quiet"]
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "| demo-digits-vanilla | 1 |" in out and "Report:" in out
    (row,) = json.loads(call(*words, "--json")[1])
    assert row["recipe"] == "demo-digits-vanilla" and 0 <= row["worst_case"] <= row["protocol"] <= 1
    assert row["accuracies"]["PGD-2"] == row["protocol"]


def test_an_audit_in_l2(call, trained, audit_in, refused):
    refused("audit", trained, "--norm", "l2", "--trials", "PGD-2", says=["--eps", "128/255"])
    code, out, _ = call("audit", trained, "--device", "cpu", "--norm", "l2", "--eps", "0.5", "--trials", "PGD-2")
    assert code == 0 and "L2 0.5" in out
    assert json.loads((audit_in(trained) / "audit.json").read_text())["threat"] == {"norm": "l2", "eps": 0.5}


@pytest.mark.thorough
def test_audits_stand_side_by_side_and_nothing_is_replaced_unasked(call, refused, trained):
    """The README's own second line made n = 200 into n = 5 once."""
    assert call("audit", trained, "--device", "cpu")[0] == 0
    assert call("audit", trained, "--device", "cpu", "--samples", "5")[0] == 0
    assert sorted(json.loads(file.read_text())["samples"] for file in trained.glob("audits/*/audit.json")) == [5, 20]
    before = {file: file.read_bytes() for file in trained.glob("audits/*/*") if file.is_file()}
    refused("audit", trained, "--device", "cpu", "--samples", "5", says=["--force"])
    assert {file: file.read_bytes() for file in before} == before
    page = (trained / "report.html").read_text()
    assert "n = 5" in page and "n = 20" in page
    assert call("audit", trained, "--device", "cpu", "--samples", "5", "--force")[0] == 0
    assert len(list(trained.glob("audits/*/audit.json"))) == 2


def test_an_audit_elsewhere(call, trained, tmp_path):
    before = {path.name for path in trained.iterdir()}
    assert call("audit", trained, "--device", "cpu", "--out", tmp_path / "there")[0] == 0
    assert {path.name for path in trained.iterdir()} == before
    assert {"audit.json", "config.json", "report.html"} <= {path.name for path in (tmp_path / "there").iterdir()}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "runs/x/state.pt"), ["No space left", "runs/x/state.pt", "make room"]),
        (PermissionError(13, "Permission denied", "runs"), ["Permission denied", "permissions"]),
        (OSError(30, "Read-only file system", "runs"), ["Read-only", "another place"]),
        (OSError(37, "No locks available", "runs/x/.lock"), ["No locks available (runs/x/.lock); give another place"]),
        (MemoryError(), ["memory", "--train.microbatch auto"]),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), ["microbatch auto"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_machine_lacks_is_one_sentence(refused, train_words, monkeypatch, tmp_path, error, says):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(runs, "train_recipe", fails)
    refused(*train_words(tmp_path / "run"), says=says)


def test_an_error_of_ours_stays_an_error(train_words, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise RuntimeError("a mistake in this program")

    monkeypatch.setattr(runs, "train_recipe", fails)
    with pytest.raises(RuntimeError, match="a mistake"):
        entry.main(train_words(tmp_path / "run"))


@pytest.mark.parametrize(
    "words",
    [
        ["recipes"],
        *(pytest.param(each, marks=pytest.mark.thorough) for each in (["recipes", "--json"], ["reproduce", "list"])),
    ],
    ids=" ".join,
)
def test_whoever_reads_may_stop(words):
    done = subprocess.run(f"{SPIKEPROOF} {' '.join(words)} | head -c 10", shell=True, capture_output=True, text=True)
    assert len(done.stdout) == 10 and done.stderr == ""


@pytest.mark.sweep
def test_a_report_is_written_whoever_reads_on(audited, tmp_path):
    page = tmp_path / "page.html"
    done = subprocess.run(
        f"{SPIKEPROOF} report {audited} --out {page} | true", shell=True, capture_output=True, text=True
    )
    assert done.stderr == "" and "</html>" in page.read_text()
