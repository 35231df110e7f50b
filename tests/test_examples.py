"""The dose example: a number of a recipe at two values, gone on with where it was, and what it refuses."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from spikeproof.audit import AuditConfig
from spikeproof.recipes import DIGITS
from spikeproof.recipes.recipe import DataConfig
from spikeproof.train import TrainConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recipe():
    """MPD-SGR on very few digits."""
    return dataclasses.replace(
        DIGITS[1],
        data=DataConfig(name="digits", validation=50, train_limit=64),
        train=TrainConfig(epochs=1, batch_size=32, augmentation=None, device="cpu", precision="fp32"),
        audit=AuditConfig(eps=0.1, samples=20, battery=None, trials=("FGSM",), tune_samples=0, sweep_samples=20),
    )


@pytest.mark.thorough
def test_a_dose_is_trained_audited_and_drawn_once(recipe, tmp_path):
    dose = example("dose").dose
    rows = dose(recipe, "mpd_sgr.eta", [0.0, 1.0], tmp_path)
    assert [row["mpd_sgr.eta"] for row in rows] == [0.0, 1.0]
    for row in rows:
        assert row["n"] == 20
        assert 0 <= row["worst case"] <= min(row["clean"], row["FGSM"], row["PGD-7"])
        assert all(0 <= row[name] <= 1 for name in ("in the window", "Omega", "zero gradients"))
    runs = sorted(folder for folder in tmp_path.iterdir() if folder.is_dir())
    etas = [json.loads((run / "config.json").read_text())["recipe"]["mpd_sgr"]["eta"] for run in runs]
    assert etas == [0.0, 1.0]
    with Image.open(tmp_path / "demo-digits-mpd-sgr-mpd_sgr.eta.png") as picture:
        assert len(picture.convert("RGB").getcolors(100_000)) > 6
    # Once more: nothing is done again.
    weights = [run / "model.safetensors" for run in runs]
    before = [path.stat().st_mtime_ns for path in weights]
    assert dose(recipe, "mpd_sgr.eta", [0.0, 1.0], tmp_path) == rows
    assert [path.stat().st_mtime_ns for path in weights] == before


def test_a_dose_of_what_is_no_number(recipe, tmp_path, refuses):
    dose = example("dose").dose
    for field in ("tgo.sigma", "mpd_sgr", "mpd_sgr.width", "mpd_sgr.no_such", "name.length"):
        with refuses(field, "no number of this recipe"):
            dose(recipe, field, [1.0], tmp_path)
    with refuses("eta", ">= 0"):
        dose(recipe, "mpd_sgr.eta", [0.0, -1.0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_neurons_of_the_theory_example(tmp_path, capsys):
    theory = example("theory")
    theory.flips(tmp_path / "flips.png")
    assert "Flips: 200000 draws" in capsys.readouterr().out
    with Image.open(tmp_path / "flips.png") as picture:
        assert picture.size[0] > 800
    assert set(theory.SHOWN) <= set(theory.DOSES)
    assert theory.mean_of([{"x": torch.tensor([1.0, 3.0])}, {"x": torch.tensor([4.0])}], "x") == 3.0
