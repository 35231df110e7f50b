"""A network of another library is trained as ours are: in place, resumably, with its weights under its own keys."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import spikeproof as sp
from interop_nets import MAKE, STEPS, SnnTorchNet, adapted, jelly
from spikeproof.data import load_data
from spikeproof.models.weights import write_weights
from spikeproof.recipes import audit_run
from spikeproof.report import read_runs
from spikeproof.spiking import sites
from stops import stopped_at


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=20, train_limit=64)


def quick(**changes):
    settings = {"epochs": 2, "batch_size": 16, "augmentation": None, "device": "cpu", "optimizer": "adam"}
    return sp.TrainConfig(**(settings | {"learning_rate": 1e-3} | changes))


@pytest.fixture(params=MAKE)
def library(request):
    pytest.importorskip(request.param)
    return request.param


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_users_own_module_is_trained_and_learns(library):
    net = MAKE[library]()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    data = load_data("digits", validation=100, train_limit=400)
    config = quick(epochs=3, batch_size=25, learning_rate=2e-2)
    run = sp.train(sp.adapt(net, num_steps=STEPS), data, config=config, show=False)
    assert run.model.net is net
    assert net.state_dict().keys() == before.keys()
    assert all(not torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert run.metrics[-1]["validation_accuracy"] > 0.5
    assert set(run.metrics[-1]["firing_rates"]) == set(sites(run.model))
    assert run.metrics[-1]["precision"] == "fp32"


def test_nothing_begins_anew(library, digits):
    """A learning rate that moves nothing leaves the weights that were handed over."""
    net = MAKE[library](seed=3)
    before = {name: value.clone() for name, value in net.named_parameters()}
    sp.train(sp.adapt(net, num_steps=STEPS), digits, config=quick(learning_rate=1e-12), show=False)
    for name, value in net.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_stopped_and_resumed_with_the_network_handed_over_again(library, digits, tmp_path, optimizer):
    config = quick(optimizer=optimizer)
    noise = [sp.TGO(sigma=0.2, sites="all")] if library == "spikingjelly" else []  # snnTorch can have none
    shared = {"data": digits, "defenses": [sp.AdversarialTraining(eps=0.05), *noise, sp.EMA()], "config": config}
    whole = sp.train(adapted(library), out=tmp_path / "whole", show=False, **shared)
    with stopped_at(0.6):
        sp.train(adapted(library), out=tmp_path / "cut", show=False, **shared)
    resumed = sp.train(adapted(library, seed=8), out=tmp_path / "cut", resume=True, show=False, **shared)
    assert same(whole.model.net.state_dict(), resumed.model.net.state_dict())
    assert not (tmp_path / "cut" / "state.pt").exists()
    again = sp.train(adapted(library, seed=9), out=tmp_path / "cut", resume=True, show=False, **shared)
    assert same(whole.model.net.state_dict(), again.model.net.state_dict())
    assert again.metrics == resumed.metrics


def test_the_run_folder_gives_the_weights_back(library, digits, refuses, tmp_path):
    run = sp.train(adapted(library), digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert weights.keys() == run.model.net.state_dict().keys()
    net = MAKE[library](seed=5)
    net.load_state_dict(weights)
    images = digits.test.images[:8].float() / 255
    assert torch.equal(sp.adapt(net, num_steps=STEPS).eval()(images), run.model(images))
    with refuses(
        "load_state_dict", "load_file", f"adapt(net, num_steps={STEPS})", type(net).__name__, run.model.library
    ):
        sp.load_model(tmp_path / "run" / "model.safetensors")
    config = sp.AuditConfig(battery=None, trials=("PGD-2",), samples=4)
    with refuses("load_state_dict", "adapt(net"):
        audit_run(tmp_path / "run", config, data_dir=None)
    (read,) = read_runs(tmp_path / "run")
    assert len(read.epochs) == 1


def test_an_audit_is_kept_beside_it(digits, tmp_path):
    pytest.importorskip("spikingjelly")
    run = sp.train(adapted(), digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    found = sp.audit(run.model, digits.test, sp.AuditConfig(battery=None, trials=("PGD-2",), samples=4), show=False)
    found.save(tmp_path / "run")
    assert sp.write_report([tmp_path / "run"], tmp_path / "report.html").exists()


def test_noise_that_stays_on_is_told(digits, refuses, tmp_path):
    pytest.importorskip("spikingjelly")
    defense = sp.TGO(lambda_max=0.0, sigma=0.2, noise_at_inference=True)
    sp.train(adapted(), digits, [defense], quick(epochs=1), out=tmp_path / "run", show=False)
    with refuses("sigma=0.2", "noise_at_inference=True", "install(net)"):
        sp.load_model(tmp_path / "run" / "model.safetensors")


class Tied(nn.Module):
    """Two layers with one weight, a loop of its own, and images that are changed in place."""

    def __init__(self):
        super().__init__()
        from spikingjelly.activation_based import neuron

        torch.manual_seed(0)
        self.one, self.other = nn.Linear(64, 64), nn.Linear(64, 64)
        self.other.weight = self.one.weight
        nn.init.normal_(self.one.weight, std=0.5)
        self.first, self.second, self.last = neuron.IFNode(), neuron.IFNode(), nn.Linear(64, 10)

    def forward(self, images):
        x = images.flatten(1)
        x -= 0.1
        return torch.stack([self.last(self.second(self.other(self.first(self.one(x))))) for _ in range(STEPS)])


def test_weights_that_are_tied_and_a_network_that_works_in_place(digits, tmp_path):
    pytest.importorskip("spikingjelly")
    net = Tied()
    before = digits.train.images.clone()
    defenses = [sp.FreeAdversarialTraining(eps=0.05, replays=2)]
    sp.train(sp.adapt(net, num_steps=STEPS), digits, defenses, quick(epochs=1), out=tmp_path / "run", show=False)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(weights["one.weight"], weights["other.weight"])
    assert torch.equal(digits.train.images, before)
    fresh = Tied()
    fresh.load_state_dict(weights)
    assert fresh.one.weight is fresh.other.weight and torch.equal(fresh.one.weight, net.one.weight)


def test_another_network_does_not_go_on_with_a_run(digits, refuses, tmp_path):
    pytest.importorskip("spikingjelly")
    with stopped_at(0.5):
        sp.train(adapted(), digits, config=quick(), out=tmp_path / "run", show=False)
    with refuses("other settings", "tau"):
        sp.train(adapted(tau=1.5), digits, config=quick(), out=tmp_path / "run", resume=True, show=False)
    with refuses("other settings", "num_steps"):
        other = sp.adapt(jelly(), num_steps=3)
        sp.train(other, digits, config=quick(), out=tmp_path / "run", resume=True, show=False)
    own = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
    with refuses("other settings"):
        sp.train(own, digits, config=quick(), out=tmp_path / "run", resume=True, show=False)
    frozen = adapted()
    frozen.net[0].requires_grad_(False)
    with refuses("other settings", "frozen"):
        sp.train(frozen, digits, config=quick(), out=tmp_path / "run", resume=True, show=False)


class FormerNames(nn.Module):
    """Its parameters are called as parts of our sites were once: in a run folder they keep their names."""

    def __init__(self):
        super().__init__()
        self.inner = jelly()
        self.leak = nn.Parameter(torch.zeros(10))
        self.radius = nn.Parameter(torch.zeros(10), requires_grad=False)

    def forward(self, images):
        return self.inner(images) + self.leak + self.radius


def test_names_of_the_users_own_are_kept(digits, tmp_path):
    pytest.importorskip("spikingjelly")
    with stopped_at(0.5):
        sp.train(sp.adapt(FormerNames(), num_steps=STEPS), digits, config=quick(), out=tmp_path / "run", show=False)
    net = FormerNames()
    for _ in range(2):  # resumed, and then finished
        model = sp.adapt(net, num_steps=STEPS)
        sp.train(model, digits, config=quick(), out=tmp_path / "run", resume=True, show=False)
    assert {"leak", "radius"} < load_file(tmp_path / "run" / "model.safetensors").keys()


def test_weights_of_another_network_are_refused(digits, refuses, tmp_path):
    pytest.importorskip("spikingjelly")
    sp.train(adapted(), digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    write_weights(tmp_path / "run" / "model.safetensors", {"x": torch.zeros(1)}, {"adapted": {}})
    with refuses("another network", "Sequential"):
        sp.train(adapted(), digits, config=quick(epochs=1), out=tmp_path / "run", resume=True, show=False)


class Remembers(nn.Module):
    """Its state_dict holds a word."""

    def __init__(self):
        super().__init__()
        self.inner = jelly()

    def forward(self, images):
        return self.inner(images)

    def get_extra_state(self):
        return "a word"

    def set_extra_state(self, state):
        assert state == "a word"


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"precision": "bf16"}, ("SpikingJelly", "float32", "auto")),
        ({"loss": "tet"}, ("tet", "SpikingJelly", "'mean'")),
        ({"batch_size": 100}, ("64 images", "batch of 100")),
    ],
    ids=["bf16", "tet", "batch"],
)
def test_what_it_cannot_be_trained_by(digits, refuses, changes, pieces, tmp_path):
    pytest.importorskip("spikingjelly")
    with refuses(*pieces):
        sp.train(adapted(), digits, config=quick(**changes), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def test_wrong_ways_to_train_one(digits, refuses, tmp_path, monkeypatch):
    pytest.importorskip("spikingjelly")
    with refuses("adapt(net, num_steps=T)", "Sequential"):
        sp.train(jelly(), digits, config=quick(), show=False)
    with refuses("holds a str", "state_dict", "without a folder"):
        sp.train(sp.adapt(Remembers(), num_steps=STEPS), digits, config=quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
    sp.train(sp.adapt(Remembers(), num_steps=STEPS), digits, config=quick(epochs=1), show=False)
    few = jelly()
    few[8] = nn.Linear(32, 4)
    with refuses("4 outputs", "10 classes"):
        sp.train(sp.adapt(few, num_steps=STEPS), digits, config=quick(), show=False)
    settled = adapted()
    settled(torch.rand(2, 1, 8, 8))
    large = load_data("digits", validation=8, train_limit=32)
    for split in (large.train, large.validation, large.test):
        object.__setattr__(split, "images", split.images.repeat(1, 1, 2, 2))
    with refuses("1x16x16", "data that it was made for"):
        sp.train(settled, large, config=quick(), show=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with refuses("one process", "torchrun"):
        sp.train(adapted(), digits, config=quick(), show=False)


def test_a_batch_norm_that_would_see_one_value(digits, refuses):
    pytest.importorskip("spikingjelly")
    with refuses("one value a channel", "6"):
        sp.train(adapted(), digits, config=quick(batch_size=1), show=False)


def test_a_frozen_batch_norm_keeps_to_its_statistics(digits):
    pytest.importorskip("spikingjelly")
    net = jelly()
    net[1].requires_grad_(False)
    before = net[1].running_mean.clone(), net[6].running_mean.clone()
    sp.train(sp.adapt(net, num_steps=STEPS), digits, config=quick(epochs=1), show=False)
    assert torch.equal(net[1].running_mean, before[0])
    assert not torch.equal(net[6].running_mean, before[1])


def test_the_config_says_what_was_adapted(digits, tmp_path):
    pytest.importorskip("snntorch")
    net = sp.adapt(SnnTorchNet(), num_steps=STEPS, reads="last")
    sp.train(net, digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    held = json.loads(Path(tmp_path / "run" / "config.json").read_text())
    told = held["identity"]["model"]["adapted"]
    assert (told["library"], told["network"], told["num_steps"], told["reads"]) == (
        "snnTorch", "SnnTorchNet", STEPS, "last",
    )  # fmt: skip
    assert held["precision"] == "fp32"
