"""What an attack cannot work with is refused in one sentence, before anything runs."""

import contextlib
import math
import subprocess
import sys

import pytest
import torch

from spikeproof.attacks import bim, check_batch, fgsm, pgd, rfgsm, sa_pgd
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf

ATTACKS = {"fgsm": fgsm, "rfgsm": rfgsm, "pgd": pgd, "bim": bim, "sa_pgd": sa_pgd}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


@contextlib.contextmanager
def refused(*pieces):
    """A SpikeproofError of one sentence with these pieces in it."""
    with pytest.raises(SpikeproofError) as caught:
        yield
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert all(piece in sentence for piece in pieces)


@each_attack
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.001, 1.001, 255.0])
def test_pixels_outside_the_box(model, batch, attack, wrong):
    images, labels = batch
    images[7, 0, 3, 3] = wrong
    with refused("Image 7", "[0, 1]"):
        attack(model, images, labels, Linf(0.1))


@each_attack
@pytest.mark.parametrize("wrong", [10, -1, -100])
def test_labels_that_are_no_class(model, batch, attack, wrong):
    images, labels = batch
    labels[3] = wrong
    with refused(str(wrong)):
        attack(model, images, labels, Linf(0.1))


@pytest.mark.parametrize(
    ("images", "labels", "piece"),
    [
        (torch.zeros(4, 8, 8), torch.zeros(4, dtype=torch.int64), "[N,C,H,W]"),
        (
            torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
            torch.zeros(4, dtype=torch.int64),
            "uint8 of shape (4, 1, 8, 8); give images.float() / 255",
        ),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3, dtype=torch.int64), "[4]"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, dtype=torch.int64), "[4]"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.bool), "bool"),
        (torch.zeros(4, 1, 8, 8), "0123", "str"),
        ("images", torch.zeros(4, dtype=torch.int64), "str"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), "float32"),
    ],
)
def test_shapes_and_types(images, labels, piece):
    with refused(piece):
        check_batch(images, labels)


@pytest.mark.parametrize("attack", [pgd, bim, sa_pgd], ids=["pgd", "bim", "sa_pgd"])
def test_no_steps(model, batch, attack):
    with refused("steps", "0"):
        attack(model, *batch, Linf(0.1), steps=0)


@pytest.mark.parametrize("size", [0.0, -0.1, math.nan])
def test_impossible_step_size(model, batch, size):
    with refused("step size"):
        pgd(model, *batch, Linf(0.1), step_size=size)


FOR_USERS = """
import torch
import spikeproof as sp

model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
images, labels, threat = torch.rand(2, 1, 8, 8), torch.tensor([1, 2]), sp.Linf(0.1)
wrong = {
    "flat images": lambda: sp.fgsm(model, images[:, 0], labels, threat),
    "float labels": lambda: sp.pgd(model, images, labels.float(), threat),
    "labels of other length": lambda: sp.sa_pgd(model, images, labels[:1], threat),
    "precision": lambda: sp.Crafting(precision="fp16"),
    "keep": lambda: sp.pgd(model, images, labels, threat, keep="worst"),
    "AT attack": lambda: sp.AdversarialTraining(attack="cw"),
    "training precision": lambda: sp.TrainConfig(precision="fp16"),
}
for name, call in wrong.items():
    try:
        call()
    except sp.SpikeproofError as error:
        assert "\\n" not in str(error)
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
    else:
        print(f"{name}: accepted")
"""


@pytest.mark.thorough
def test_wrong_words_and_shapes_are_refused_also_where_types_are_not_checked():
    """Users run without the type checks of these tests."""
    ran = subprocess.run([sys.executable, "-c", FOR_USERS], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == []
