"""A run as a folder for others: the same network, nothing of the machine, and never half of it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from shared_run import audit_in, read_one, write_config

from spikeproof.hub import push
from spikeproof.models import load_model
from spikeproof.recipes import audit_run, recorded_audit_config

FILES = {"README.md", "audit.json", "config.json", "metrics.jsonl", "model.safetensors", "outcomes.parquet"}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.thorough
def test_the_folder_holds_the_same_network(audited, tmp_path):
    target = tmp_path / "new" / "shared"
    assert push(audited, target) == f"hub:{target}"
    assert set(content(target)) == FILES
    assert [path.name for path in target.parent.iterdir()] == ["shared"]
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(load_model(f"hub:{target}")(images), load_model(audited / "model.safetensors")(images))


@pytest.mark.thorough
def test_a_pushed_folder_is_a_run_that_others_can_audit(audited, tmp_path):
    target = tmp_path / "shared"
    push(audited, target)
    pushed, run = read_one(target), read_one(audited)
    assert (pushed.audit.trials, pushed.epochs) == (run.audit.trials, run.epochs)
    again = audit_run(target, recorded_audit_config(target), data_dir=None, device="cpu", show=False)
    assert again.worst_case.correct == run.audit.worst_case.correct


@pytest.mark.thorough
@pytest.mark.parametrize("as_whole", [True, False])
def test_nothing_of_the_machine_is_shared(audited, tmp_path, as_whole):
    config = json.loads((audited / "config.json").read_text())
    place = "/home/some one/data/mine.npz" if as_whole else "see '/home/someone/mine.npz', and ~/notes or C:\\Users\\me"
    config["recipe"]["data"]["name"] = place
    config["recipe"]["mine"] = {"/home/someone/x": 1, "file:///home/someone/two words/y": "~someone/two words/z"}
    write_config(audited, config)
    target = tmp_path / "shared"
    push(audited, target)
    for name, held in content(target).items():
        for secret in (str(tmp_path), str(audited), "spikeproof train demo", "/home", "~/notes", "Users"):
            assert secret.encode() not in held, (name, secret)
    shared = json.loads((target / "config.json").read_text())
    assert shared["recipe"]["data"]["name"] == ("mine.npz" if as_whole else "see 'mine.npz', and notes or me")
    assert shared["recipe"]["mine"] == {"x": 1, "y": "z"}
    assert shared["recipe"]["audit"] == config["recipe"]["audit"]
    assert {name: shared[name] for name in ("torch", "command")} == {"torch": config["torch"], "command": ""}


def test_an_audit_from_elsewhere(trained, _audited, tmp_path, refuses):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with refuses(elsewhere, "no audit.json"):
        push(trained, tmp_path / "shared", audit=elsewhere)
    for name in ("audit.json", "outcomes.parquet"):
        shutil.copy(audit_in(_audited) / name, elsewhere / name)
    push(trained, tmp_path / "shared", audit=elsewhere)
    assert set(content(tmp_path / "shared")) == FILES


def test_an_audit_of_another_run(trained, _audited, tmp_path, refuses):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for held in (audit_in(_audited) / "audit.json", audit_in(_audited) / "outcomes.parquet", _audited / "config.json"):
        shutil.copy(held, elsewhere / held.name)
    config = json.loads((elsewhere / "config.json").read_text())
    write_config(elsewhere, config | {"command": "another"})
    push(trained, tmp_path / "shared", audit=elsewhere)
    before = content(tmp_path / "shared")
    config["recipe"]["train"]["seed"] += 1
    write_config(elsewhere, config)
    with refuses(elsewhere, "another run", trained):
        push(trained, tmp_path / "shared", audit=elsewhere)
    assert content(tmp_path / "shared") == before


def test_an_earlier_push_is_replaced_and_other_things_are_not(audited, tmp_path, refuses):
    target = tmp_path / "shared"
    target.mkdir()
    push(audited, target)
    shutil.rmtree(audited / "audits")
    push(audited, target)
    assert set(content(target)) == FILES - {"audit.json", "outcomes.parquet"}

    (target / "mine.txt").write_text("mine")
    before = content(target)
    with refuses(target, "other files"):
        push(audited, target)
    with refuses(audited, "other files"):
        push(audited, audited)
    with refuses("mine.txt is a file"):
        push(audited, target / "mine.txt")
    with refuses("cannot be written"):
        push(audited, target / "mine.txt" / "below")
    assert content(target) == before


def test_the_folder_one_is_in(trained, tmp_path, refuses, monkeypatch):
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    with refuses("where you are"):
        push(trained, ".")
    push(trained, "below")
    load_model("hub:below")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("copies", [1, 2])
def test_stopped_half_way_the_folder_is_as_it_was(audited, tmp_path, monkeypatch, interruption, copies):
    target, first = tmp_path / "shared", tmp_path / "first"
    push(audited, target)
    before, copy, done = content(target), shutil.copyfile, []

    def stops(source, into):
        done.append(source)
        if len(done) == copies:
            raise interruption("no space left")
        return copy(source, into)

    monkeypatch.setattr(shutil, "copyfile", stops)
    for place in (target, first):
        done.clear()
        with pytest.raises((KeyboardInterrupt, ValueError)):
            push(audited, place)
    assert content(target) == before
    assert {path.name for path in tmp_path.iterdir()} == {"audited", "shared"}


def test_stopped_between_the_two_moves_the_earlier_push_comes_back(audited, tmp_path, monkeypatch):
    target, rename = tmp_path / "shared", Path.rename
    push(audited, target)
    before = content(target)

    def stops(path, into):
        if path.suffix == ".new":
            assert not into.exists()
            raise KeyboardInterrupt
        return rename(path, into)

    monkeypatch.setattr(Path, "rename", stops)
    with pytest.raises(KeyboardInterrupt):
        push(audited, target)
    assert content(target) == before
    assert {path.name for path in tmp_path.iterdir()} == {"audited", "shared"}


@pytest.mark.parametrize(
    ("spoil", "piece"),
    [
        ({"model.safetensors": None}, "not finished"),
        ({"config.json": None}, "no config.json"),
        ({"model.safetensors": b"half"}, "damaged"),
        ({"audits/*/audit.json": b"{"}, "not valid JSON"),
        ({"audits/*/outcomes.parquet": b"half"}, "damaged"),
        ({"metrics.jsonl": b"{"}, "not valid JSON"),
    ],
    ids=str,
)
def test_runs_that_cannot_be_pushed(audited, tmp_path, refuses, spoil, piece):
    for name, written in spoil.items():
        (held,) = audited.glob(name)
        held.unlink() if written is None else held.write_bytes(written)
    with refuses(piece):
        push(audited, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_a_link_is_not_followed(audited, tmp_path, refuses, name):
    """It may lead to anything on this machine."""
    (held,) = [*audited.glob(name), *audited.glob(f"audits/*/{name}")]
    secret = held.rename(tmp_path / "secret")
    held.symlink_to(secret)
    with refuses(held, "link"):
        push(audited, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_of_several_audits_one_is_named(audited, tmp_path, refuses):
    place = audit_in(audited)
    shutil.copytree(place, place.with_name("another"))
    with refuses("2 audits", "--audit"):
        push(audited, tmp_path / "shared")
    push(audited, tmp_path / "shared", audit=place)
    assert set(content(tmp_path / "shared")) == FILES


HOSTILE = "x\n<script>alert(1)</script> ![](https://example.org/x.png) [a](javascript:b) `c` | d\n# e"


def test_a_hostile_name_is_words_and_nothing_else(trained, tmp_path):
    config = json.loads((trained / "config.json").read_text())
    config["name"] = HOSTILE
    config["recipe"]["data"]["name"] = HOSTILE
    config["recipe"]["mine"] = {HOSTILE: HOSTILE}
    write_config(trained, config)
    push(trained, tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    text = card.split("\n---\n", 1)[1]
    bare = re.sub(r"\\.|`[^`\n]*`", "", text)  # without what is escaped, and without code
    assert "<" not in bare and "![" not in bare and "](" not in bare
    assert [line for line in text.splitlines() if line.startswith("#")][0].startswith(r"# x \<script\>")
    assert not any(line.startswith("# e") for line in text.splitlines())
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(
    "target", ["hub:name", "hub:/somewhere/else", "hub:", "hub:a/b@main", "hub:a--b/c", "hub:a/b/c"]
)
def test_targets_that_are_none(trained, refuses, target):
    with refuses(target, "hub:"):
        push(trained, target)


def test_a_folder_that_looks_like_a_repository(trained, tmp_path, refuses, monkeypatch):
    (tmp_path / "someone" / "robust").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for target in (f"hub:{tmp_path}", "hub:someone/robust"):
        with refuses(target, "leave out hub:"):
            push(trained, target)
    assert not list((tmp_path / "someone" / "robust").iterdir())


def test_a_folder_that_cannot_be_read(trained, tmp_path, refuses, monkeypatch):
    (tmp_path / "locked").mkdir()

    def locked(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with refuses("locked", "Permission denied"):
        push(trained, tmp_path / "locked")


def test_a_folder_is_not_private(trained, tmp_path, refuses):
    with refuses("shared", "private"):
        push(trained, tmp_path / "shared", private=True)
