"""The commands around published tables."""

from pathlib import Path

import pytest

from spikeproof.tables import TABLES


def test_the_list_names_every_table(call):
    code, out, _ = call("reproduce", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*TABLES]


@pytest.mark.parametrize("scale", ["mini", "short", "full"])
def test_a_dry_run_names_networks_and_hours_and_writes_nothing(call, tmp_path, scale):
    out_folder = tmp_path / "store"
    words = ("reproduce", "tgo-main", "--scale", scale, "--dry-run", "--out", str(out_folder), "--jobs", "2")
    code, out, _ = call(*words)
    assert code == 0
    assert not out_folder.exists()
    assert out.count("after calibration") == 3
    assert "tgo: delta 0.5, sigma 0.3" in out
    hours = float(out.splitlines()[-1].split()[1])
    # On a CPU a miniature takes an hour or so, a short run a day, and the full size months.
    least, most = {"mini": (0.05, 20), "short": (5, 100), "full": (300, 1e5)}[scale]
    assert least < hours < most


def test_networks_that_fail_are_told_in_the_page_and_by_the_exit_code(call, tmp_path):
    words = (
        "--rows",
        "c100-vanilla-reg",
        "c100-vanilla-feel",
        "--data-dir",
        str(tmp_path),
        "--out",
        str(tmp_path / "s"),
    )
    code, out, err = call("reproduce", "mpd-sgr-table3", *words)
    assert code == 1
    assert err.count("failed: there is no file") == 2
    assert "there is no file" in out
    page = (tmp_path / "s" / "results" / "results.md").read_text()
    assert "there is no file" in page
    assert str(tmp_path) not in page
    assert not (tmp_path / "s" / "networks").exists()


def test_the_leaderboard_of_the_committed_results(call, tmp_path):
    code, out, _ = call("leaderboard", "results", "--check")
    assert code == 0
    assert "valid" in out
    code, _, _ = call("leaderboard", "results", "--page", str(tmp_path / "page.md"))
    assert code == 0
    assert (tmp_path / "page.html").exists()


def test_push_shares_a_run_as_a_folder(call, train_words, tmp_path):
    run, shared = tmp_path / "run", tmp_path / "shared"
    assert call(*train_words(run))[0] == 0
    code, out, _ = call("push", str(run), str(shared))
    assert code == 0
    assert "hub:" in out
    assert {"README.md", "model.safetensors", "config.json"} <= {path.name for path in shared.iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reproduce"], "TABLE"),
        (["reproduce", "tgo-mian"], "did you mean tgo-main?"),
        (["reproduce", "tgo-main", "--rows", "moon"], "no row 'moon'"),
        (["reproduce", "tgo-main", "--seeds"], "--seeds"),
        (["reproduce", "tgo-main", "--jobs", "0"], "--jobs"),
        (["reproduce", "tgo-main", "--scale", "tiny"], "mini"),
        (["reproduce", "tgo-main", "--cluster-options", "a=1"], "--cluster"),
        (["reproduce", "tgo-main", "--cluster", "local", "--cluster-options", "a"], "NAME=VALUE"),
        (["reproduce", "tgo-main", "--cluster", "local", "--cluster-options", "nodes=2"], "one network in one process"),
        (["reproduce", "tgo-main", "--seeds", "-1"], "from 0 on"),
        (["reproduce", "tgo-main", "--page", "page.html"], "ends in .md"),
        (["reproduce", "tgo-main", "--out", "taken"], "a file is in its way"),
        (["compare", "demo-digits", "--jobs", "0"], "--jobs"),
        (["compare", "demo-digits", "--out", "taken"], "a file is in its way"),
        (["demo", "--out", "taken"], "a file is in its way"),
        (["leaderboard", "nowhere"], "nowhere"),
        (["push", "nowhere", "there"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(call, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.json"))


def test_several_processes_are_for_one_run(call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = call("reproduce", "tgo-main")
    assert code == 2
    assert "torchrun" in err
