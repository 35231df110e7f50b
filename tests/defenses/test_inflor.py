"""InfLoR: the rectifier by hand, spikes that it does not change, and the gradient that it does."""

import math

import pytest
import torch
from torch import nn

from spikeproof.defenses import NDL, InfLoR, compose
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, RectifiedTriangle, Sigmoid, Site, Triangle, sites


def installed(**neuron):
    site = Site(Neuron(**neuron), 3).eval()
    InfLoR().install(site)
    return site


def rectified(u):
    """The rectifier of networks whose threshold is 0.5, as its docstring has it."""
    if u < 0:
        return 1 - (1 - u) ** (1 / 3)
    return u ** (1 / 3) if u > 1 else 0.5 + math.tanh(3 * (u - 0.5)) / (2 * math.tanh(1.5))


def test_what_is_above_the_threshold_stays():
    """Potentials by hand: 1.5 fires and leaves 0.5; with 0.25 that is 0.75; with 0.375 it is 1.125, which fires."""
    currents = torch.tensor([[1.5], [0.25], [0.375]])
    assert installed()(currents).flatten().tolist() == [1, 0, 1]
    assert Site(Neuron(), 3)(currents).flatten().tolist() == [1, 0, 0]


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_rectifier_changes_no_spike(decay):
    """As a potential is carried as it is, firing by f(u) is firing by u."""
    torch.manual_seed(0)
    currents = torch.randn(3, 500, dtype=torch.float64)
    spikes = installed(decay=decay, threshold=0.5)(currents)
    carried = torch.zeros(500, dtype=torch.float64)
    for current, found in zip(currents, spikes, strict=True):
        potential = decay * carried + current
        expected = torch.tensor([float(rectified(u) >= 0.5) for u in potential.tolist()], dtype=torch.float64)
        assert torch.equal(found, expected)
        carried = potential - 0.5 * expected


@pytest.mark.parametrize(("gamma", "threshold"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (3.0, 0.7)])
def test_the_gradient_is_that_of_firing_by_the_rectified_potential(gamma, threshold):
    """h(f(u) - threshold) f'(u), with f' by finite differences."""
    site = Site(Neuron(threshold=threshold, surrogate=Triangle(gamma)), 1)
    InfLoR().install(site)
    potentials = (threshold * torch.linspace(-2, 4, 61, dtype=torch.float64) + 0.011)[None].requires_grad_()
    (found,) = torch.autograd.grad(site(potentials).sum(), potentials)
    for u, slope in zip(potentials.flatten().tolist(), found.flatten().tolist(), strict=True):
        f, ahead, behind = (2 * threshold * rectified((u + step) / (2 * threshold)) for step in (0, 1e-6, -1e-6))
        expected = max(0.0, gamma - abs(f - threshold)) / gamma**2 * (ahead - behind) / 2e-6
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_by_hand_at_the_threshold_and_where_a_triangle_ends():
    surrogate = installed().neuron.surrogate
    margins = torch.tensor([0.0, -1.0, 1.0, 0.5], dtype=torch.float64)
    inner = math.tanh(0.75) / math.tanh(1.5)  # f moves a margin of half a threshold to 0.70
    steep = 1.5 / math.tanh(1.5)
    expected = torch.tensor([steep, 0, 0, (1 - inner) * steep * (1 - math.tanh(0.75) ** 2)], dtype=torch.float64)
    torch.testing.assert_close(surrogate(margins), expected, rtol=1e-12, atol=1e-12)
    assert surrogate.window == pytest.approx(1.0, rel=1e-12)


def test_it_is_saved_with_the_weights_and_installed_again_the_same(tmp_path):
    torch.manual_seed(0)
    network = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.25)
    InfLoR().install(network)
    before = [site.neuron for site in sites(network).values()]
    save_model(network, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    InfLoR().install(loaded)
    assert [site.neuron for site in sites(loaded).values()] == before
    assert before[0] == Neuron(reset="soft", surrogate=RectifiedTriangle(1.0, 1.0))
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(network.eval()(images), loaded.eval()(images))


def test_what_it_cannot_act_on_is_refused(refuses):
    with refuses("InfLoR", "sites"):
        InfLoR().install(nn.Linear(2, 2))
    with refuses("InfLoR", "Sigmoid", "triangle"):
        InfLoR().install(Site(Neuron(surrogate=Sigmoid()), 1))
    with refuses("InfLoR", "NDL", "surrogate"):
        compose([InfLoR(), NDL()])
