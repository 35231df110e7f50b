"""Networks that PyTorch wraps: what is trained and saved of them is the network inside."""

import pytest
import torch
from torch import nn

from spikeproof.data import load_data
from spikeproof.models import create_model, load_model, save_model, unwrapped
from spikeproof.train import TrainConfig, train


def made():
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25)


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, lambda model: compiled(nn.DataParallel(model))])
def test_weights_are_saved_as_those_of_the_network_inside(wrap, tmp_path):
    model = made()
    assert unwrapped(wrap(model)) is model
    save_model(wrap(model), tmp_path / "wrapped.safetensors")
    loaded = load_model(tmp_path / "wrapped.safetensors")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_compiled_network_is_trained_and_its_run_loads(tmp_path):
    data = load_data("digits", validation=50, train_limit=64)
    config = TrainConfig(epochs=1, batch_size=32, augmentation=None, device="cpu", precision="fp32")
    model = made()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = train(compiled(model), data, config=config, out=tmp_path / "run", show=False)
    assert run.model is model
    assert not torch.equal(before["stem.weight"], model.state_dict()["stem.weight"])
    loaded = load_model(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_trained_or_saved(refuses, tmp_path):
    data = load_data("digits", validation=50, train_limit=64)
    with refuses("DataParallel", "torchrun"):
        train(nn.DataParallel(made()), data, show=False)
    with refuses("create_model", "Linear"):
        train(nn.Linear(2, 2), data, show=False)
    with refuses("create_model", "Linear", "state_dict"):
        save_model(nn.Linear(2, 2), tmp_path / "weights")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0.5, (0.5,), torch.tensor(0.5), torch.tensor([0.5]), [0.5]], ids=str)
def test_normalisation_constants_in_any_form(value):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=3, mean=value, std=value)
    assert model.description.mean == model.description.std == (0.5, 0.5, 0.5)
    numbers = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=3, mean=numbers.numpy(), std=numbers)
    assert model.description.mean == model.description.std == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("value", [(0.5, 0.5), float("nan"), (0.1, 0.2, float("inf"))], ids=str)
def test_impossible_normalisation_constants(refuses, value):
    with refuses("mean", "3 channels"):
        create_model("conv", num_classes=10, image_size=8, in_channels=3, mean=value)
