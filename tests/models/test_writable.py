"""What a file of weights cannot say is refused, before training and before writing; all else loads again as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from spikeproof.coding import Direct, Frequency, Poisson
from spikeproof.data import load_data
from spikeproof.defenses import DEFENSES, Defense
from spikeproof.models import check_writable, create_model, load_model, save_model
from spikeproof.spiking import Neuron, Triangle
from spikeproof.train import TrainConfig, train


def made(**changes):
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25, **changes)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=64)


def linear(model):
    return next(module for module in model.modules() if isinstance(module, nn.Linear))


def convolution(model):
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


class Blunt(Triangle):
    """A surrogate of one's own."""


class Mine(Direct):
    """A coding of one's own."""


def compiled_in_part(model):
    model.body = torch.compile(model.body, backend="eager")


def of_another_kind(model):
    model.body[0].norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)


def with_a_dropout(model):
    model.body[4] = nn.Sequential(model.body[4], nn.Dropout())


def own_surrogate(model):
    model.body[0].neuron = Neuron(surrogate=Blunt())


def own_forward(model):
    model.stem.forward = torch.relu


CHANGES = {
    "compiled in part": (compiled_in_part, "body is compiled by itself"),
    "pruned": (lambda model: prune.l1_unstructured(convolution(model), "weight", 0.3), "prune.remove"),
    "weight norm": (lambda model: parametrizations.weight_norm(linear(model)), "remove_parametrizations"),
    "spectral norm": (lambda model: parametrizations.spectral_norm(linear(model)), "remove_parametrizations"),
    "orthogonal": (lambda model: parametrizations.orthogonal(linear(model)), "remove_parametrizations"),
    "the older spectral norm": (lambda model: nn.utils.spectral_norm(linear(model)), "remove_spectral_norm"),
    "float64": (lambda model: model.double(), "float64"),
    "bfloat16": (lambda model: model.bfloat16(), "bfloat16"),
    "half of it float64": (lambda model: linear(model).double(), "float64"),
    "another norm": (of_another_kind, "InstanceNorm2d"),
    "a part more": (with_a_dropout, "Sequential"),
    "another pooling": (lambda model: setattr(model.body[0], "pool", 1), "body.0.pool"),
    "another stride": (lambda model: setattr(model.stem, "padding", (0, 0)), "stem.padding"),
    "another epsilon": (lambda model: setattr(model.body[0].norm, "eps", 0.1), "body.0.norm.eps"),
    "another forward": (own_forward, "stem.forward"),
    "a surrogate of one's own": (own_surrogate, "surrogates"),
    "a coding of one's own": (lambda model: model.set_coding(Mine()), "codings"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_refused_before_training_and_before_writing(digits, refuses, tmp_path, change, says):
    model = made()
    change(model)
    with refuses(says):
        save_model(model, tmp_path / "model.safetensors")
    with refuses(says):
        train(model, digits, config=TrainConfig(epochs=1, augmentation=None), out=tmp_path / "run", show=False)
    assert not list(tmp_path.iterdir())


def remove_norm(model):
    parametrizations.weight_norm(linear(model))
    parametrize.remove_parametrizations(linear(model), "weight")


def remove_mask(model):
    prune.l1_unstructured(convolution(model), "weight", 0.3)
    prune.remove(convolution(model), "weight")


@pytest.mark.parametrize(
    "change",
    [
        lambda model: None,
        remove_norm,
        remove_mask,
        lambda model: setattr(model.body[0].norm, "momentum", 0.5),
        lambda model: setattr(model, "note", "mine"),
        lambda model: setattr(model.body[0], "neuron", Neuron(threshold=0.5, decay=0.5)),
        lambda model: model.set_coding(Poisson()),
        lambda model: model.set_coding(Frequency((4, 3))),
        lambda model: model.requires_grad_(False),
        lambda model: setattr(model, "num_steps", 3),
    ],
    ids=[
        *("as it is", "a norm made permanent", "a mask made permanent", "momentum", "a note", "a neuron", "poisson"),
        *("frequency", "frozen", "steps"),
    ],
)
def test_what_is_written_gives_the_same_answers(tmp_path, change):
    model = made()
    change(model)
    save_model(model.eval(), tmp_path / "model.safetensors")
    images, answers = torch.rand(5, 1, 8, 8), []
    for each in (model, load_model(tmp_path / "model.safetensors")):
        torch.manual_seed(0)
        answers.append(each(images))
    assert torch.equal(*answers)


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("batch_norm", ["merged", "per-step"])
def test_what_every_defense_leaves_can_be_written(tmp_path, name, batch_norm):
    model = made(batch_norm=batch_norm)
    DEFENSES[name]().install(model)
    check_writable(model)
    save_model(model.eval(), tmp_path / "model.safetensors")
    images, answers = torch.rand(3, 1, 8, 8), []
    for each in (model, load_model(tmp_path / "model.safetensors")):
        torch.manual_seed(0)
        answers.append(each(images))
    assert torch.equal(*answers)


class Prunes(Defense):
    """A defense that leaves what no file can say."""

    def install(self, model):
        prune.l1_unstructured(convolution(model), "weight", 0.3)


def test_what_a_defense_makes_of_it_is_refused_before_training(digits, refuses, tmp_path):
    with refuses("prune.remove"):
        train(made(), digits, [Prunes()], TrainConfig(augmentation=None), out=tmp_path / "run", show=False)
    assert not list(tmp_path.iterdir())
    # In memory it may be trained as it is.
    train(made(), digits, [Prunes()], TrainConfig(epochs=1, augmentation=None), show=False)


def test_the_check_changes_nothing():
    model = made()
    before, state = copy.deepcopy(model), torch.get_rng_state()
    check_writable(model)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.state_dict().items())
