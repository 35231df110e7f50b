"""Audits of a run that are left in another folder, and a run loaded whole."""

import dataclasses
import importlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch

from spikeproof.audit import Audit, AuditConfig
from spikeproof.data import load_data
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.recipes import audit_run, find_recipe, train_recipe
from spikeproof.recipes.run import load_run
from spikeproof.report import read_runs
from spikeproof.runs import RunFolder
from spikeproof.train import TrainConfig, train

CONFIG = AuditConfig(
    eps=0.1, samples=20, battery=None, trials=("FGSM", "PGD-2"), tune_samples=0, diagnostics=False, batch_size=10
)
AUDIT_FILES = {"config.json", "metrics.jsonl", "audit.json", "outcomes.parquet", "pictures.npz", ".lock"}


@pytest.fixture(scope="module")
def recipe():
    found = find_recipe("demo-digits-vanilla")
    return dataclasses.replace(
        found,
        data=dataclasses.replace(found.data, train_limit=800, validation=60),
        train=dataclasses.replace(found.train, epochs=2, batch_size=16, learning_rate=0.3, device="cpu"),
    )


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    train_recipe(recipe, data_dir=None, out=folder, command="train it", show=False)
    return folder


def names_in(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def audit_into(run, into, config=CONFIG, **options):
    return audit_run(run, config, data_dir=None, device="cpu", command="audit it", show=False, into=into, **options)


def test_the_result_lies_there_and_the_run_is_as_it_was(run, tmp_path):
    before = {path: path.read_bytes() for path in run.iterdir()}
    into = tmp_path / "not" / "there" / "yet"
    found = audit_into(run, into)
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert names_in(into) == AUDIT_FILES
    assert pq.read_table(into / "outcomes.parquet").equals(found.outcomes)
    said = json.loads((into / "audit.json").read_text())
    assert (said["command"], said["samples"]) == ("audit it", 20)


def test_a_report_of_it_shows_the_training_as_well(run, tmp_path):
    found = audit_into(run, tmp_path / "audit")
    (told,), (trained,) = read_runs(tmp_path / "audit"), read_runs(run)
    assert trained.audit is None
    assert told.audit is not None
    assert told.audit.worst_case.accuracy == found.worst_case.accuracy
    assert told.pictures is not None
    assert (told.name, told.command, told.config) == (trained.name, "train it", trained.config)
    assert told.epochs == trained.epochs
    assert len(told.epochs) == 2


@pytest.mark.thorough
def test_several_audits_of_one_run_side_by_side_and_one_of_them_anew(run, tmp_path, refuses):
    wide = dataclasses.replace(CONFIG, eps=0.3)
    narrow_found, wide_found = audit_into(run, tmp_path / "narrow"), audit_into(run, tmp_path / "wide", wide)
    assert wide_found.worst_case.correct < narrow_found.worst_case.correct
    with refuses(tmp_path / "wide", "--force"):
        audit_into(run, tmp_path / "wide", CONFIG)
    audit_into(run, tmp_path / "wide", CONFIG, force=True)
    tables = [pq.read_table(tmp_path / name / "outcomes.parquet") for name in ("narrow", "wide")]
    assert tables[0].equals(tables[1])


def test_one_that_was_stopped_goes_on_there(run, tmp_path, monkeypatch):
    undisturbed = audit_into(run, tmp_path / "undisturbed")
    engine = importlib.import_module("spikeproof.audit.engine")
    attack, attacked = engine.Engine._attack, []

    def watched(self, trial, *arguments):
        attacked.append(trial.name)
        if len(attacked) == 4:
            raise KeyboardInterrupt
        return attack(self, trial, *arguments)

    monkeypatch.setattr(engine.Engine, "_attack", watched)
    into = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        audit_into(run, into)
    assert attacked == ["FGSM", "PGD-2", "FGSM", "PGD-2"]
    assert not (into / "audit.json").exists()
    assert (into / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert read_runs(into)[0].epochs == read_runs(run)[0].epochs
    assert len(list((into / "audit-parts").rglob("*.part"))) == 4  # who is right when clean, and three
    assert not (run / "audit-parts").exists()
    # Of an earlier try, with a network that answered otherwise.
    (into / "audit-parts" / ("0" * 16)).mkdir()
    (into / "audit-parts" / ("0" * 16) / "clean.part").write_text("")
    again = audit_into(run, into)
    assert attacked[4:] == ["PGD-2"]  # the one that it was at, and no other
    assert again.outcomes.equals(undisturbed.outcomes)
    assert names_in(into) == AUDIT_FILES
    assert not (into / "audit-parts").exists()


def test_what_could_not_be_saved_is_not_attacked_again(run, tmp_path, monkeypatch):
    undisturbed = audit_into(run, tmp_path / "undisturbed")
    engine = importlib.import_module("spikeproof.audit.engine")

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(Audit, "write", full)
        audit_into(run, tmp_path / "full")
    monkeypatch.setattr(engine.Engine, "_attack", full)
    again = audit_into(run, tmp_path / "full")
    assert again.outcomes.equals(undisturbed.outcomes)
    assert names_in(tmp_path / "full") == AUDIT_FILES


def test_a_run_that_is_removed_meanwhile_comes_back_as_it_was(run, tmp_path, monkeypatch):
    """Hours of attacks are not lost, and the config is the run's, not one made up."""
    own = shutil.copytree(run, tmp_path / "own")
    said = (own / "config.json").read_bytes()
    engine = importlib.import_module("spikeproof.audit.engine")
    attack = engine.Engine._attack

    def cleared(self, trial, *arguments):
        shutil.rmtree(own, ignore_errors=True)
        return attack(self, trial, *arguments)

    monkeypatch.setattr(engine.Engine, "_attack", cleared)
    found = audit_into(own, None)
    assert (own / "config.json").read_bytes() == said
    (place,) = (own / "audits").iterdir()
    assert json.loads((place / "audit.json").read_text())["worst_case"]["correct"] == found.worst_case.correct


def test_a_run_without_metrics(run, tmp_path):
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "metrics.jsonl").unlink()
    audit_into(bare, tmp_path / "audit")
    assert read_runs(tmp_path / "audit")[0].epochs == ()
    assert not (bare / "metrics.jsonl").exists()


@pytest.mark.thorough
def test_transfer_trials_from_another_run(run, recipe, tmp_path):
    other = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=1))
    train_recipe(other, data_dir=None, out=tmp_path / "other", show=False)
    config = dataclasses.replace(CONFIG, trials=("FGSM",), transfer=("FGSM", "PGD-7", "BIM-7"), per_member=True)
    audit_into(run, tmp_path / "black-box", config, substitutes=[tmp_path / "other"])
    rows = json.loads((tmp_path / "black-box" / "audit.json").read_text())["trials"][2:]
    assert [row["name"] for row in rows] == ["TRANSFER:FGSM", "TRANSFER:PGD-7", "TRANSFER:BIM-7"]
    assert all(row["everyone"] and row["kind"] == "black-box" and row["samples"] == 20 for row in rows)


def test_another_run_is_not_written_over(run, recipe, tmp_path, refuses):
    other = tmp_path / "other"
    settings = dataclasses.replace(recipe, name="another").settings()
    RunFolder(other).open("another", settings, device="cpu", command="", resume=False)
    before = (other / "config.json").read_bytes()
    with refuses(other, "another run", run):
        audit_into(run, other)
    assert (other / "config.json").read_bytes() == before
    assert names_in(other) == {"config.json"}


@pytest.mark.parametrize("into", ["file", "file/below"])
def test_a_file_in_the_way(run, tmp_path, refuses, into):
    (tmp_path / "file").write_text("mine")
    with refuses(tmp_path / into, "file is in its way"):
        audit_into(run, tmp_path / into)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_refused_audit_leaves_nothing(run, tmp_path):
    with pytest.raises(SpikeproofError, match="fewer than the 10000"):
        audit_into(run, tmp_path / "refused", dataclasses.replace(CONFIG, samples=10_000))
    assert not (tmp_path / "refused").exists()
    audit_into(run, tmp_path / "there")
    with pytest.raises(SpikeproofError, match="fewer than the 10000"):
        audit_into(run, tmp_path / "there", dataclasses.replace(CONFIG, samples=10_000), force=True)
    assert names_in(tmp_path / "there") == AUDIT_FILES


def test_a_run_is_loaded_with_its_data(run, recipe):
    model, data = load_run(run, None)
    expected = recipe.data.load(None)
    assert not model.training
    assert model.description.name == "conv"
    for split in ("train", "validation", "test"):
        assert torch.equal(getattr(data, split).images, getattr(expected, split).images)
    again, _ = load_run(run, None)
    images = data.test.images[:8].float() / 255
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
        right = (model(data.test.images.float() / 255).argmax(1) == data.test.labels).float().mean()
    assert right > 0.5  # the trained weights, and not those of the start


def test_an_unfinished_run_is_not_loaded(recipe, tmp_path, refuses):
    RunFolder(tmp_path / "begun").open("x", recipe.settings(), device="cpu", command="", resume=False)
    with refuses(tmp_path / "begun", "not finished"):
        load_run(tmp_path / "begun", None)
    with refuses(tmp_path / "nowhere", "config.json"):
        load_run(tmp_path / "nowhere", None)


def test_a_run_from_python_says_how_to_go_on(tmp_path, refuses):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
    data = load_data("digits", validation=50, train_limit=64)
    train(model, data, config=TrainConfig(epochs=1, augmentation=None), out=tmp_path / "run", show=False)
    with refuses("from Python", "load_model"):
        load_run(tmp_path / "run", None)
