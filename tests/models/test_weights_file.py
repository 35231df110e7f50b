"""Weights on disk: bit for bit there and back, and a sentence for every file that cannot be used."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spikeproof.defenses import LSG
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, Sigmoid, sites


def new_model(**changed):
    torch.manual_seed(0)
    options = {"num_classes": 4, "image_size": 8, "in_channels": 1, "num_steps": 2, "mean": (0.31,), "std": (1 / 3,)}
    neuron = Neuron(decay=0.9, threshold=0.3, reset="soft", detach_reset=True, surrogate=Sigmoid(3.3))
    return create_model("conv", neuron=neuron, **(options | changed))


@pytest.fixture
def model():
    model = new_model()
    with torch.no_grad():
        model.train()(torch.rand(8, 1, 8, 8))
    return model.eval()


@pytest.fixture
def path(model, tmp_path):
    save_model(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def refusal(path, **options):
    with pytest.raises(SpikeproofError) as caught:
        load_model(path, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(path) in sentence
    return sentence


def said_by(path):
    """What a file says of its network, without the checksum."""
    with safe_open(path, framework="pt") as opened:
        said = json.loads(opened.metadata()["spikeproof"])
    del said["sha256"]
    return said


def test_round_trip_is_bit_equal(model, path):
    loaded = load_model(path)
    assert loaded.description == model.description
    assert not loaded.training
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(model(images), loaded(images))
    assert path.parent.joinpath("model.safetensors").exists() and len(list(path.parent.iterdir())) == 1


def test_a_trained_wide_resnet_and_its_noise_come_back(tmp_path):
    torch.manual_seed(0)
    model = create_model("wrn16", num_classes=3, width=0.05, image_size=8)
    for n, site in enumerate(sites(model).values()):
        site.noise_std, site.noise_at_inference = 0.1 * n, n % 2 == 0
    save_model(model, tmp_path / "wide")
    loaded = load_model(tmp_path / "wide", expected=model.description, kernels="fused")
    assert [(s.noise_std, s.noise_at_inference, s.kernels) for s in sites(loaded).values()] == [
        (0.1 * n, n % 2 == 0, "fused") for n in range(13)
    ]


def test_no_such_file(tmp_path):
    assert "no weights" in refusal(tmp_path / "missing")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_damaged_file(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    assert "damaged" in refusal(path)


def test_file_that_is_not_ours(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "spikeproof" in refusal(tmp_path / "other.safetensors")


@pytest.mark.parametrize("changed", [{"num_classes": 5}, {"num_steps": 3}, {"mean": (0.3,)}], ids=str)
def test_weights_of_another_model(path, changed):
    assert next(iter(changed)) in refusal(path, expected=new_model(**changed).description)


def test_weights_that_do_not_fit_their_description(path):
    said = said_by(path) | {"model": new_model(width=0.5).description.to_json()}
    save_file(load_file(path), path, {"spikeproof": json.dumps(said)})
    assert "do not fit" in refusal(path)


def test_weights_from_before_there_were_checksums(model, path):
    said = said_by(path)
    save_file(load_file(path), path, {"spikeproof": json.dumps(said["model"]), "sites": json.dumps(said["sites"])})
    loaded = load_model(path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"neuron": null}',
        json.dumps({"model": new_model().description.to_json() | {"name": "vgg99"}, "sites": {}}),
        json.dumps({"model": new_model().description.to_json() | {"future": 1}, "sites": {}}),
        json.dumps({"model": None, "sites": {}}),
        json.dumps({"model": new_model().description.to_json(), "sites": None}),
        "[" * 100_000,
    ],
)
def test_description_of_another_version(path, text):
    save_file(load_file(path), path, {"spikeproof": text})
    with pytest.raises(SpikeproofError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [{"num_steps": "4"}, {"width": None}, {"mean": ["a"]}, {"std": ["a"]}, {"name": ["conv"]}, {"num_steps": 2.5}],
    ids=str,
)
def test_a_description_of_odd_values(path, odd):
    said = said_by(path) | {"model": new_model().description.to_json() | odd}
    save_file(load_file(path), path, {"spikeproof": json.dumps(said)})
    assert "does not know" in refusal(path)


@pytest.mark.parametrize(
    "odd",
    [
        {"noise": 0.1},
        {"noise": ["0.1", True]},
        {"noise": [True, True]},
        {"noise": [-0.1, True]},
        {"noise": [0.1, 1]},
        {"noise": [0.1]},
        {"random_decay": [0.1]},
        {"random_decay": ["a", "b"]},
        {"random_decay": 0.5},
    ],
    ids=str,
)
def test_sites_of_odd_values(model, path, odd):
    save_model(model, path)
    said = said_by(path)
    name, held = next(iter(said["sites"].items()))
    said["sites"][name] = held | odd
    save_file(load_file(path), path, {"spikeproof": json.dumps(said)})
    assert "its sites in a way this version does not know" in refusal(path)


def test_what_a_defense_sets_by_a_rule_of_its_own_stays_so(tmp_path):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    LSG().install(model)
    save_model(model, tmp_path / "model.safetensors")
    for site in sites(load_model(tmp_path / "model.safetensors")).values():
        assert site.decay.requires_grad and not site.sharpness.requires_grad
