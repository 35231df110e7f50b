"""Slips at Python's doors end in a sentence that says what was expected and, where it can be told, what was meant."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

import spikeproof as sp
from spikeproof.kinds import check_kinds

FITTING = [
    (int, 3),
    (int, np.int64(3)),
    (float, 3),
    (float, np.float32(3)),
    (int | None, None),
    (str | Path, Path("a")),
    (Sequence[int], [1, 2]),
    (Sequence[int], ()),
    (Sequence[str | Path], ["a", Path("b")]),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[float, float], [1, 2.5]),
    (Literal["a", "b"], "anything: the function knows its choices"),
    (Callable[[int], int], abs),
    (nn.Module, nn.ReLU()),
    (Float[Tensor, "n"], torch.zeros(3, 4)),
    (dict[str, int], {}),
]
OTHERS = [
    (int, 3.0, "a whole number, not 3.0 (a float); give 3."),
    (int, True, "a whole number, not True (a bool)."),
    (int, "3", "a whole number, not '3' (a str)."),
    (float, "0.1", "a number, not '0.1' (a str)."),
    (float | None, "0.1", "a number or None, not '0.1' (a str)."),
    (str, 3, "a text, not 3 (an int)."),
    (Sequence[str], "runs/a", "a list, each of it a text, not 'runs/a' (a str); put it into a list."),
    (Sequence[nn.Module], nn.ReLU(), "a list, each of it a Module, not a ReLU; put it into a list."),
    (Sequence[nn.Module], [nn.ReLU], "not a list of type; ReLU is a class, and ReLU() one of its kind."),
    (nn.Module, nn.ReLU, "a Module, not the class ReLU; ReLU is a class, and ReLU() one of its kind."),
    (tuple[int, ...], (1, 2.0), "a tuple, each of it a whole number, not a tuple of int, float."),
    (tuple[float, float], (1.0,), "2 values in a tuple, not a tuple of float."),
    (Callable[[int], int], 3, "a Callable, not 3 (an int)."),
    (Float[Tensor, "n"], np.zeros(3), "a Tensor, not a ndarray."),
    (Tensor | None, np.zeros(3), "a Tensor or None, not a ndarray."),
]


def taking(kind):
    def take(it):
        return it

    take.__annotations__ = {"it": kind}
    return check_kinds(take)


@pytest.mark.parametrize(("kind", "value"), FITTING, ids=repr)
def test_what_fits_passes(kind, value):
    assert taking(kind)(value) is value


@pytest.mark.parametrize(("kind", "value", "says"), OTHERS, ids=repr)
def test_what_does_not_fit_is_refused(kind, value, says):
    with pytest.raises(sp.SpikeproofError) as refused:
        taking(kind)(value)
    assert str(refused.value).startswith("The it of take must be ")
    assert str(refused.value).endswith(says)


@pytest.fixture(scope="module")
def data():
    return sp.load_data("digits", validation=50, train_limit=128)


def conv():
    return sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)


DOORS = {
    "all the data for a split": (lambda d: sp.audit(conv(), d), "an ImageSet, not a Data; give its .train or"),
    "a tensor for a split": (lambda d: sp.audit(conv(), d.test.images), "an ImageSet, not a Tensor"),
    "batches for a split": (
        lambda d: sp.audit(conv(), torch.utils.data.DataLoader([])),
        "an ImageSet, not a DataLoader; ImageSet(images, labels, class_names) makes one.",
    ),
    "a radius for a config": (
        lambda d: sp.audit(conv(), d.test, 0.1),
        "an AuditConfig or None, not 0.1 (a float); AuditConfig(...) makes one.",
    ),
    "a model's class": (lambda d: sp.audit(type(conv()), d.test), "a Module, not the class SpikingModel"),
    "a model that is no list": (lambda d: sp.audit(conv(), d.test, substitutes=conv()), "put it into a list"),
    "no images": (lambda d: sp.audit(conv(), d.test.take(slice(0, 0))), "no images"),
    "a split for all the data": (lambda d: sp.train(conv(), d.train), "a Data, not an ImageSet"),
    "a defense that is no list": (lambda d: sp.train(conv(), d, sp.TGO()), "put it into a list"),
    "a defense's class": (lambda d: sp.train(conv(), d, [sp.TGO]), "TGO is a class, and TGO() one of its kind"),
    "a config for a list": (lambda d: sp.train(conv(), d, sp.TrainConfig()), "a list, each of it a Defense"),
    "a model's name": (lambda d: sp.train("conv", d), "a Module, not 'conv' (a str)"),
    "a name that is none": (lambda d: sp.create_model(11, num_classes=10), "a text, not 11 (an int)"),
    "classes by half": (lambda d: sp.create_model("conv", num_classes=10.0), "a whole number, not 10.0"),
    "a neuron's class": (lambda d: sp.create_model("conv", num_classes=10, neuron=sp.Neuron), "Neuron() one of its"),
    "images by half": (lambda d: sp.load_data("digits", validation=50.0), "give 50"),
    "a class that is no tuple": (lambda d: sp.load_data("digits", classes=3), "a tuple, each of it a whole number"),
    "a run that is no list": (lambda d: sp.write_report("runs/a", "a.html"), "put it into a list"),
    "weights by number": (lambda d: sp.load_model(3), "a text or a Path"),
    "a model that is none": (lambda d: sp.save_model({}, "a.safetensors"), "a Module, not a dict"),
}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sp.adapt(torch.nn.Linear(1, 1)), r"adapt\(\): missing a required .*argument: 'num_steps'"),
        (lambda: sp.pgd(None, None, None), r"pgd\(\): missing a required argument: 'threat'"),
        (
            lambda: sp.fgsm(None, None, None, None, eps=1),
            r"fgsm\(\): got an unexpected keyword argument 'eps'; it is a",
        ),
        (lambda: sp.audit(None, None, samples=9), r"'samples'; it is a field of AuditConfig: config=AuditConfig\("),
        (lambda: sp.train(None, None, epochs=9), r"'epochs'; it is a field of TrainConfig: config=TrainConfig\(epo"),
        (lambda: sp.audit(None, None, epsilon=9), r"unexpected keyword argument 'epsilon'$"),
    ],
    ids=["adapt", "pgd", "fgsm", "audit", "train", "nowhere"],
)
def test_a_call_that_does_not_fit_names_the_function(call, says):
    with pytest.raises(TypeError, match=says):
        call()


@pytest.mark.parametrize(("slip", "says"), DOORS.values(), ids=DOORS)
def test_a_slip_at_a_door(data, slip, says):
    with pytest.raises(sp.SpikeproofError) as refused:
        slip(data)
    assert says in str(refused.value)


def test_a_setting_that_is_no_number_is_refused_in_a_sentence():
    """In a process of its own, since the tests' own check of annotations would be faster."""
    script = Path(__file__).with_name("settings_given.py")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    tried, *wrong = found.stdout.splitlines()
    assert wrong == [] and int(tried) > 300
