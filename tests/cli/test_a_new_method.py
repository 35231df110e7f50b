"""A toy defense and a toy attack: who adds one writes its file and names it in one list; all else follows from that."""

import dataclasses
import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikeproof.attacks import ATTACKS, Form, attack, pgd
from spikeproof.defenses import DEFENSES, Defense
from spikeproof.engine.estimate import _training_seconds
from spikeproof.hub.card import model_card
from spikeproof.recipes import RECIPES
from spikeproof.report import read_run

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Defense):
    """L = CE + weight * mean |logits|.

    Args:
        weight: of the penalty.
    """

    label = "To-Y"
    weight: float = 0.1

    @property
    def step_cost(self):
        return 1.5

    def penalty(self, step):
        return self.weight * step.logits.abs().mean()


@attack("Toy")
def toy(model, images, labels, threat, how=None, *, steps):
    return pgd(model, images, labels, threat, how, steps=steps)


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setitem(DEFENSES, Toy.name, Toy)
    monkeypatch.setitem(ATTACKS, "TOY", Form(name="TOY", attack=toy, kind="fixed", number=3))
    row = dataclasses.replace(RECIPES["demo-digits-vanilla"].having(Toy()), name="demo-digits-to-y")
    monkeypatch.setitem(RECIPES, row.name, row)


def test_the_command_line_knows_it(call, refused):
    assert "to-y" in " ".join(call("train", "--help")[1].split())
    assert "--to-y.weight FLOAT" in call("train", "demo-digits-vanilla", "--with", "to_y", "--help")[1]
    assert "--to-y.weight FLOAT" in call("train", "demo-digits-to-y", "--help")[1]
    refused("train", "demo-digits-vanilla", "--to-y.weight", "2", says=["--with to-y"])
    refused("train", "demo-digits-vanilla", "--with", "to-z", says=["did you mean to-y?"])
    (line,) = (line for line in call("recipes", "to-y")[1].splitlines() if line.startswith("demo"))
    assert "To-Y" in line
    refused("audit", "nowhere", says=["nowhere"])


def test_a_run_its_report_and_its_card_know_it(call, train_words, tmp_path, audit_in):
    run = tmp_path / "run"
    words = train_words(run, "--with", "to-y", to_y__weight=0.25)
    assert call(*words)[0] == 0
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["to_y"] == {"weight": 0.25} and config["name"] == "demo-digits-vanilla-to-y"
    assert call(*words, "--resume")[0] == 0
    assert call("audit", run, "--device", "cpu", "--trials", "FGSM", "TOY-2")[0] == 0
    page = (run / "report.html").read_text()
    assert "To-Y (weight 0.25)" in page and "TOY-2" in page
    card = model_card(read_run(run, audit_in(run)))
    assert "To-Y (weight 0.25)" in card and "TOY-2" in card


def test_estimates_know_it():
    plain, with_it = (_training_seconds(RECIPES[f"demo-digits-{name}"], "cpu") for name in ("vanilla", "to-y"))
    assert with_it == pytest.approx(1.5 * plain)


DEFENSE = '''"""A toy."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from spikeproof.defenses.defense import Defense, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Defense):
    """L = CE + weight * mean |logits|."""

    weight: float = 0.1

    @property
    def step_cost(self) -> float:
        return 1.1

    def penalty(self, step: Step) -> Float[Tensor, ""]:
        return self.weight * step.logits.abs().mean()
'''
ATTACK = '''"""A toy."""

from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.projected_gradient import pgd


@attack("Toy")
def toy(model, images, labels, threat, how=None, *, steps=3):
    """PGD."""
    return pgd(model, images, labels, threat, how, steps=steps)


FORMS = (Form(name="TOY", attack=toy, kind="fixed", number=3),)
'''
ASKED = """
import json
import spikeproof as sp
from spikeproof.audit import AuditConfig
from spikeproof.recipes import RECIPES, with_defense
print(json.dumps({
    "offered": "Toy" in sp.__all__ and sp.Toy().label,
    "row": [defense.label for defense in RECIPES["mini-cifar10-toy"].defenses],
    "added": with_defense(RECIPES["mini-cifar10-vanilla"], "toy").name,
    "everything": [trial.name for trial in AuditConfig(battery="everything").members() if "TOY" in trial.name],
}))
"""


@pytest.mark.thorough
def test_the_places_that_are_touched(tmp_path):
    """In a copy of the package: the two files, a name and a place in each list, and a row."""
    package = tmp_path / "spikeproof"
    shutil.copytree(ROOT / "src" / "spikeproof", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "defenses" / "toy.py").write_text(DEFENSE)
    (package / "attacks" / "toy.py").write_text(ATTACK)
    added = 0
    for file, before, after in (
        ("defenses/__init__.py", "from spikeproof.defenses.trades", "from spikeproof.defenses.toy import Toy\n"),
        ("defenses/__init__.py", "        TGO,\n", "        Toy,\n"),
        (
            "attacks/__init__.py",
            "from spikeproof.attacks.transfer",
            "from spikeproof.attacks.toy import FORMS as _TOY\n",
        ),
        ("attacks/__init__.py", "        _TPGD,\n", "        _TOY,\n"),
        ("recipes/mini_cifar10.py", '    *_pair("recdis"', '    _row("toy", defenses.Toy()),\n'),
        ("recipes/mini_cifar10.py", "from spikeproof.audit", "from spikeproof import defenses\n"),
    ):
        text = (package / file).read_text()
        assert text.count(before) == 1
        (package / file).write_text(text.replace(before, after + before))
        added += 1
    compared = filecmp.dircmp(ROOT / "src" / "spikeproof", package, ignore=["__pycache__"])
    touched = {
        f"{room}/{name}" for room, each in compared.subdirs.items() for name in (*each.diff_files, *each.right_only)
    }
    assert touched == {
        *("defenses/toy.py", "defenses/__init__.py", "attacks/toy.py", "attacks/__init__.py"),
        "recipes/mini_cifar10.py",
    }
    assert added == 6
    around = os.environ | {"PYTHONPATH": str(tmp_path)}
    asked = subprocess.run([sys.executable, "-c", ASKED], env=around, capture_output=True, text=True, check=True)
    assert json.loads(asked.stdout) == {
        "offered": "Toy",
        "row": ["Toy"],
        "added": "mini-cifar10-vanilla-toy",
        "everything": ["TOY-3"],
    }
    over_all = [
        *("train/test_every_pair.py", "defenses/test_every_defense.py", "attacks/test_attack_promises.py"),
        *("test_waits.py", "test_checked.py", "models/test_writable.py", "cli/test_every_recipe_parses.py"),
    ]
    words = [sys.executable, "-m", "pytest", "--collect-only", *(f"{ROOT}/tests/{file}" for file in over_all)]
    listed = subprocess.run(words, env=around, cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stdout[-2000:]
    for file in over_all:
        assert any(file in line and "toy" in line.lower() for line in listed.stdout.splitlines()), file
