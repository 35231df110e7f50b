"""Nothing waits for a GPU: no step of training, and an attack's step once at most."""

import contextlib
import copy
import threading

import pytest
import torch

from digit_networks import network
from interop_nets import adapted
from spikeproof import attacks, defenses
from spikeproof.attacks import Crafting
from spikeproof.attacks.form import nine_times
from spikeproof.audit import make_trial
from spikeproof.coding import parse_coding
from spikeproof.coding.registry import CODINGS
from spikeproof.data import Augmentation, load_data
from spikeproof.defenses import (
    LSG,
    MPDSGR,
    SR,
    TGO,
    AdversarialTraining,
    HoSNN,
    LearnableWidth,
    RecDis,
    RMPLoss,
    compose,
)
from spikeproof.gradients import SOURCES
from spikeproof.models import create_model
from spikeproof.runs import Processes
from spikeproof.spiking import sites
from spikeproof.train import TrainConfig
from spikeproof.train.loop import _Trainer
from waits import Waits

# DSD's Lanczos iteration stops where it has converged, so it has to look.
LOOKS = {"dsd": "defenses/dominant_singular_deflation.py"}
DEFENSES = {name: [kind()] for name, kind in defenses.DEFENSES.items()} | {
    "none": [],
    "PGD": [AdversarialTraining(attack="pgd", steps=2)],
    "widths learned": [MPDSGR(), LearnableWidth()],
    "widths followed": [RecDis(), LSG()],
    # Measured in the first step of three; the third is watched.
    "MPD-SGR by the attack": [MPDSGR(width="attack")],
    "TGO by the attack": [TGO(width="attack")],
    # One that is still measuring set points, in every step.
    "HoSNN measuring": [HoSNN(warmup=0.0)],
}
ATTACKS = [name for name, form in attacks.ATTACKS.items() if form.number is not None and form.most is None]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=32)


def new_model(coding="direct", batch_norm="merged"):
    torch.manual_seed(0)
    shape = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.25}
    return create_model("conv", coding=parse_coding(coding), batch_norm=batch_norm, kernels="reference", **shape)


def trainer_after_two_steps(digits, defenses, *, model=None, device="cpu", **changes):
    network = {name: changes.pop(name) for name in ("coding", "batch_norm") if name in changes}
    model = model or new_model(**network)
    augmentation = Augmentation(crop_padding=1, flip=True, cutout=2)
    settings = {"epochs": 50, "batch_size": 16, "augmentation": augmentation, "device": "cpu", "precision": "fp32"}
    config = TrainConfig(**(settings | changes))
    trainer = _Trainer(model.to(device), digits, defenses, compose(defenses), config, None, Processes())
    trainer.look_every, trainer.saved_at = 100, 0.0
    trainer.steps_an_epoch = 100  # the third step closes none
    for trainer.step in range(2):
        trainer._train_on(torch.arange(16), threading.Event())
    trainer.step = 2
    return trainer


def watched_step(digits, defenses, **changes):
    """What waits in the third step of a training."""
    trainer = trainer_after_two_steps(digits, defenses, **changes)
    momentum = [held for state in trainer.optimizer.state.values() for held in state.values() if held.ndim]
    measured = [held for held in trainer.memory.values() if held.ndim]
    with Waits(trainer.model, digits.train.images, digits.train.labels, *momentum, *measured) as waits:
        trainer._train_on(torch.arange(16), threading.Event())
    return waits.found


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
def test_a_training_step_waits_for_nothing(digits, name):
    found = watched_step(digits, DEFENSES[name])
    if name in LOOKS:
        assert found and all(where.startswith(LOOKS[name]) for where in found)
    else:
        assert not found


def adapted_in_plain_torch(library, *, native):
    pytest.importorskip(library)
    model = adapted(library, native=native)
    for site in sites(model).values():
        site.kernels = "reference"
    return model


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("library", ["spikingjelly", "snntorch"])
def test_a_training_step_of_an_adapted_network_waits_for_nothing(digits, library, native):
    defenses = [AdversarialTraining(attack="pgd", steps=2), SR(), MPDSGR(sites="all"), RMPLoss()]
    assert not watched_step(digits, defenses, model=adapted_in_plain_torch(library, native=native))


@pytest.fixture
def digits_without_data(digits, monkeypatch):
    """Digits on a device where tensors have shapes and no values: what asks for one, or mixes devices, fails."""
    # The device has no autocast, and all runs in float32 here.
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    train = copy.copy(digits.train)
    for name in ("images", "labels"):
        object.__setattr__(train, name, getattr(train, name).to("meta"))
    found = copy.copy(digits)
    object.__setattr__(found, "train", train)
    return found


@pytest.mark.sweep
# DSD looks at values in every step, Dspike in the first.
@pytest.mark.parametrize("name", [name for name in DEFENSES if name not in ("dsd", "dspike")])
def test_a_training_step_needs_no_values_and_mixes_no_devices(digits_without_data, name):
    trainer = trainer_after_two_steps(digits_without_data, DEFENSES[name], device="meta")
    assert all(parameter.device.type == "meta" for parameter in trainer.model.parameters())


@pytest.mark.parametrize("coding", [name for name in CODINGS if name != "Frames"])
def test_no_coding_waits(digits, coding):
    assert not watched_step(digits, [AdversarialTraining()], coding=coding)


def test_frames_wait_for_nothing():
    events = load_data("digits-events", validation=8, train_limit=32)
    shape = {"num_classes": 10, "image_size": 12, "in_channels": 2, "num_steps": 6, "width": 0.25}
    model = create_model("conv", coding=parse_coding("frames"), kernels="reference", **shape)
    assert not watched_step(events, [AdversarialTraining()], model=model)


@pytest.mark.parametrize(
    "changes",
    [
        {"microbatch": 5},
        {"loss": "tet"},
        {"precision": "bf16"},
        {"batch_norm": "per-step"},
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_other_kind_of_step_waits(digits, changes):
    assert not watched_step(digits, [MPDSGR(), TGO()], **changes)


class Attacked:
    """What waits in an attack on two digits that no step of it can break."""

    def __init__(self, model):
        self.model = model
        self.images = load_data("digits", validation=100).test.images[:2].float() / 255
        self.labels = self.model(self.images).argmax(1)

    def waits(self, text, *, eps=1e-6, **how):
        trial = make_trial(text)
        threat = trial.threat(eps, 64)
        with Waits(self.model, self.images, self.labels) as waits:
            trial.attack(self.model, self.images, self.labels, threat, Crafting(source=trial.source, **how))
        return waits.found

    def of_further_steps(self, attack, source, **how):
        """What two more steps wait for."""
        found = self.waits(f"{attack}-4@{source}", **how)
        found.subtract(self.waits(f"{attack}-2@{source}", **how))
        return {where: count for where, count in found.items() if count}


NEAREST = [name for name, form in attacks.ATTACKS.items() if form.norm == "l2"]


@pytest.fixture(scope="module")
def attacked():
    model = network("tiny")
    for site in sites(model).values():
        site.kernels = "reference"
    return Attacked(model)


def most(attack):
    """Two steps ask twice who is broken, and so for each target; one to the last iterate never asks."""
    if make_trial(attack).kind == "protocol" and attack not in NEAREST:
        return 0
    return 2 * (9 if attacks.ATTACKS[attack].passes is nine_times else 1)


@pytest.mark.sweep
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("attack", ["PGD", "SA-PGD"])
def test_no_source_waits(attacked, attack, source):
    found = attacked.of_further_steps(attack, source)
    assert sum(found.values()) == most(attack)
    assert set(found) <= {"attacks/pursuit.py offer: aten.nonzero.default"}


@pytest.mark.sweep
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("library", ["spikingjelly", "snntorch"])
def test_no_source_waits_on_an_adapted_network(library, native, source):
    attacked = Attacked(adapted_in_plain_torch(library, native=native).eval())
    found = attacked.of_further_steps("SA-PGD", source)
    assert found == {"attacks/pursuit.py offer: aten.nonzero.default": most("SA-PGD")}


@pytest.mark.sweep
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_step_waits_once_to_hear_who_is_broken(attacked, attack):
    found = attacked.of_further_steps(attack, "ASSG")
    # These look for the nearest image, so they break what is broken too, and have the judge confirm it.
    asked = {where: count for where, count in found.items() if where.endswith("offer: aten.nonzero.default")}
    assert sum(asked.values()) == most(attack)
    if attack not in NEAREST:
        assert found == asked


@pytest.mark.thorough
def test_no_noise_of_the_network_waits(attacked):
    model = attacked.model
    for site in sites(model).values():
        site.noise_std, site.noise_at_inference, site.random_decay = 1e-6, True, (0.5, 0.500001)
    try:
        attacked.of_further_steps("PGD", "ASSG", eot_iter=2)  # each length of the noise's tape is made once
        assert not attacked.of_further_steps("PGD", "ASSG", eot_iter=2)
    finally:
        for site in sites(model).values():
            site.noise_std, site.noise_at_inference, site.random_decay = 0.0, False, None


def test_samples_that_leave_are_found_once(attacked):
    """At a radius that breaks both: whatever is remembered of a sample goes by its place, without another look."""
    found = attacked.waits("SA-PGD-5@ASSG", eps=0.8)
    assert found["attacks/pursuit.py offer: aten.nonzero.default"] > 1
    masks = {where.partition(":")[0] for where in found if where.endswith("with a mask")}
    assert masks <= {"attacks/objective.py check_classes", "attacks/pursuit.py finish"}


# The watcher itself.

SEEN = {
    "item": lambda x: x.sum().item(),
    "number": lambda x: float(x[0]),
    "truth": lambda x: bool(x.any()),
    "list": lambda x: x.tolist(),
    "mask": lambda x: x[x > 1],
    "mask to write": lambda x: x.clone().__setitem__(x > 1, x[0]),
    "nonzero": lambda x: x.nonzero(),
    "select": lambda x: torch.masked_select(x, x > 1),
    "repeats": lambda x: x.repeat_interleave(x.long()),
    "copy to the host": lambda x: x.cpu(),
    "copy from the host": lambda x: torch.rand(3).to(x.device),
    "made of a list": lambda x: torch.tensor([1.0], device=x.device),
    "an index of the host's": lambda x: x[torch.tensor([0, 1])],
    "in a backward": lambda x: Reads.apply(x.clone().requires_grad_()).sum().backward(),
}
NOT_SEEN = {
    "arithmetic": lambda x: torch.where(x > 1, x, 0.0).cumsum(0).sort().values,
    "the host's own": lambda x: torch.rand(3).sum().item(),
    "queued copy": lambda x: x + torch.rand(3).to(x.device, non_blocking=True),
    "a slice": lambda x: x[int(torch.tensor(1)) :],
    "an index": lambda x: x[x.argsort()],
}


class Reads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * gradient.sum().item()


@pytest.mark.parametrize("name", SEEN)
def test_the_watcher_sees(name):
    values = torch.tensor([0.0, 1.0, 2.0])
    with Waits(values) as waits:
        SEEN[name](values)
    assert waits.found


@pytest.mark.parametrize("name", NOT_SEEN)
def test_the_watcher_lets_pass(name):
    values = torch.tensor([0.0, 1.0, 2.0])
    with Waits(values) as waits:
        NOT_SEEN[name](values)
    assert not waits.found
