"""A run folder of the version before recipes had a list of defenses is read, gone on with, audited and reported."""

import dataclasses
import json

import pytest
import torch

from spikeproof.defenses import MPDSGR, AdversarialTraining
from spikeproof.disk import sealed
from spikeproof.models import load_model
from spikeproof.recipes import audit_run, find_recipe, recorded_audit_config, train_recipe
from spikeproof.report import read_run, text_table, write_report
from spikeproof.runs import RunFolder
from stops import stopped_at

# `recipe` and `identity` of a config.json, word for word, of
# spikeproof train demo-digits-at-mpd-sgr --train.epochs 2 --data.train-limit 64 --audit.samples 20 ...
RECORDED = json.loads("""
{"name": "demo-digits-at-mpd-sgr",
 "data": {"name": "digits", "classes": null, "validation": 50, "train_limit": 64, "test_limit": null, "seed": 0},
 "model": {"name": "conv", "num_steps": 4, "width": 1.0,
  "neuron": {"decay": 1.0, "threshold": 1.0, "reset": "hard", "detach_reset": false,
   "surrogate": {"name": "Triangle", "gamma": 1.0}, "carries_noise": false},
  "coding": {"name": "Direct"}, "batch_norm": "merged", "kernels": "reference"},
 "at": {"eps": 0.1, "attack": "fgsm", "steps": 2, "step_size": null},
 "mpd_sgr": {"eta": 0.5, "warmup": 0.0, "sites": "normed", "dose": "mean", "statistics": "attached",
  "potential": "before-reset", "width": "surrogate", "factor": 1.0, "attack_eps": 0.00784313725490196, "every": 10},
 "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": null, "loss": "mean",
  "precision": "fp32", "augmentation": {"crop_padding": 0, "flip": false, "cutout": 0}, "validate_every": 1,
  "microbatch": null, "seed": 0, "device": "cpu"},
 "audit": {"norm": "linf", "radius": 0.1, "samples": 20, "split": "test", "battery": null, "trials": ["FGSM"],
  "transfer": ["PGD-20"], "per_member": null, "noise": null, "draws": null, "judge_draws": null, "precision": "auto",
  "tune_samples": 0, "sweep": [], "step_sweep": [], "sweep_samples": 20, "diagnostics": true, "batch_size": null,
  "seed": 0}}
""")
IDENTITY = json.loads("""
{"order": ["AdversarialTraining", "MPDSGR"],
 "defenses": {
  "AdversarialTraining": {"eps": 0.1, "attack": "fgsm", "steps": 2, "step_size": null},
  "MPDSGR": {"eta": 0.5, "warmup": 0.0, "sites": "normed", "dose": "mean", "statistics": "attached",
   "potential": "before-reset", "width": "surrogate", "factor": 1.0, "attack_eps": 0.00784313725490196, "every": 10}},
 "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": null, "loss": "mean",
  "augmentation": {"class": "Augmentation", "crop_padding": 0, "flip": false, "cutout": 0}, "validate_every": 1,
  "microbatch": null, "seed": 0}}
""")


@pytest.fixture
def recipe():
    listed = find_recipe("demo-digits-at-mpd-sgr")
    return dataclasses.replace(
        listed,
        data=dataclasses.replace(listed.data, validation=50, train_limit=64),
        train=dataclasses.replace(listed.train, epochs=2, batch_size=32, device="cpu"),
        audit=dataclasses.replace(listed.audit, battery=None, trials=("FGSM",), samples=20, sweep=(), sweep_samples=20),
    )


@pytest.fixture
def old(recipe, tmp_path):
    """A run that was stopped in its second epoch, with a config.json as it was written then."""
    with stopped_at(0.5):
        train_recipe(recipe, data_dir=None, out=tmp_path, show=False)
    config = RunFolder(tmp_path).config()
    model = config["identity"]["model"]
    del config["labels"]  # which came with the list
    written = config | {"recipe": RECORDED, "identity": IDENTITY | {"model": model}}
    (tmp_path / "config.json").write_text(json.dumps(sealed(written)))
    return tmp_path


@pytest.mark.thorough
def test_it_is_gone_on_with_audited_and_reported(old, recipe, tmp_path_factory):
    assert not RunFolder(old).finished
    train_recipe(recipe, data_dir=None, out=old, resume=True, show=False)
    whole = train_recipe(recipe, data_dir=None, out=tmp_path_factory.mktemp("whole"), show=False)
    mine = load_model(old / "model.safetensors").state_dict()
    assert all(torch.equal(value, mine[name]) for name, value in whole.model.state_dict().items())
    asked = recorded_audit_config(old)
    assert asked == recipe.audit
    found = audit_run(old, asked, data_dir=None, show=False, into=old)
    assert found.protocol.accuracy >= 0
    assert "demo-digits-at-mpd-sgr" in text_table([read_run(old, old)])
    page = write_report([old], old / "report.html").read_text()
    assert "AT (eps 0.1" in page and "MPD-SGR (eta 0.5" in page
    assert "on the images as a defense perturbs them" in page


def test_it_is_not_gone_on_with_under_other_defenses(old, recipe, refuses):
    for other, told in (
        (recipe.without(MPDSGR), "mpd_sgr"),
        (recipe.having(AdversarialTraining(eps=0.2)), "at.eps: 0.1 then, 0.2 now"),
    ):
        with refuses(old, told):
            train_recipe(other, data_dir=None, out=old, resume=True, show=False)
