"""The examples run: every notebook's cells, other libraries' tutorials, and the dose of a number of a recipe."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from spikeproof.audit import AuditConfig
from spikeproof.data import load_data
from spikeproof.harden.budget import restored
from spikeproof.recipes import DIGITS
from spikeproof.recipes.recipe import DataConfig
from spikeproof.train import TrainConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks its module up there
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
    runs = sorted(path.parent for path in tmp_path.glob("*/config.json"))
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


@pytest.mark.thorough
@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    if "spikingjelly" in notebook.read_text():
        pytest.importorskip("spikingjelly")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}, {cell['id']}", "exec"), names)


def test_notebooks_hold_no_outputs():
    notebooks = sorted(EXAMPLES.glob("*.ipynb"))
    assert len(notebooks) >= 2
    for notebook in notebooks:
        stored = json.loads(notebook.read_text())
        assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
        assert not any(cell.get("outputs") for cell in stored["cells"])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["spikingjelly", "snntorch", "norse", "sinabs", "spikingjelly_vgg"])
def test_tutorial_is_the_same_network_wrapped_and_adapted(name):
    library, make = example("other_tools").TUTORIALS[name]
    pytest.importorskip(library)
    data = load_data("digits", validation=200)
    torch.manual_seed(0)
    images = data.train.images.float() / 255
    if name == "spikingjelly_vgg":  # for 32 x 32 pixels in colour
        images = images.expand(-1, 3, -1, -1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tutorial = make(images, data.train.labels, epochs=1)
    tutorial.wrapped.eval()
    tutorial.adapted.eval()
    with torch.no_grad():
        ours, theirs = tutorial.adapted(images[:16]), tutorial.wrapped(images[:16])
    torch.testing.assert_close(ours, theirs.to(ours.dtype))
    # The wrapper has left a state of 16 images behind, which sinabs keeps among the buffers.
    weights = [parameter.clone() for parameter in tutorial.net.parameters()]
    with torch.no_grad(), restored(tutorial.adapted, always=True):
        for parameter in tutorial.net.parameters():
            parameter.add_(1)
        tutorial.adapted(images[:5])
    for parameter, weight in zip(tutorial.net.parameters(), weights, strict=True):
        assert torch.equal(parameter, weight)
