"""NDL: how often a noisy neuron fires, where its noise goes, and what its surrogate is on average."""

import math

import pytest
import torch
from slow_conv import awake_conv
from torch import nn

from spikeproof.defenses import TGO, compose
from spikeproof.defenses.noisy_neurons import NDL
from spikeproof.models import load_model, save_model
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.spiking import Gaussian, Neuron, Site, probe, sites

SIGMA = 0.3
MANY = 200_000


def noisy_site(num_steps, **neuron):
    site = Site(Neuron(**neuron), num_steps).eval()
    NDL(sigma=SIGMA).install(site)
    return site


def phi(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def density(v, sigma):
    return math.exp(-((v / sigma) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma)


@pytest.mark.parametrize("margin", [-0.6, -0.3, 0.0, 0.2])
def test_a_neuron_fires_as_often_as_the_paper_says(margin):
    torch.manual_seed(0)
    rate = noisy_site(1)(torch.full((1, MANY), 1 + margin)).mean().item()
    expected = phi(margin / SIGMA)
    assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / MANY)
    if margin == -0.3:
        assert expected == pytest.approx(0.159, abs=5e-4)  # and not the 0.240 of noise drawn twice


def test_noise_stays_in_the_potential():
    """What was added in a first, silent step is there in the second, by the decay."""
    torch.manual_seed(0)
    site = noisy_site(2, decay=0.5, threshold=10.0)
    with probe(site, "margins") as record:
        assert site(torch.full((2, MANY), 1.0)).sum() == 0
    first, second = (record[""].margins + 10).flatten(1)
    assert abs(first.mean().item() - 1) < 0.005 and abs(second.mean().item() - 1.5) < 0.005
    assert first.std().item() == pytest.approx(SIGMA, rel=0.02)
    assert second.std().item() == pytest.approx(SIGMA * math.sqrt(1.25), rel=0.02)
    assert (second - 0.5 * first).std().item() == pytest.approx(SIGMA, rel=0.02)
    covariance = ((first - 1) * (second - 1.5)).mean().item()
    assert covariance == pytest.approx(0.5 * SIGMA**2, rel=0.05)


def test_a_reset_takes_the_noise_along():
    torch.manual_seed(0)
    site = noisy_site(2)
    with probe(site, "margins") as record:
        first, _ = site(torch.stack([torch.ones(MANY), torch.zeros(MANY)]))
    margins = record[""].margins.flatten(1)
    assert torch.equal(first == 1, margins[0] >= 0)
    fresh = margins[1] - torch.where(first == 1, -1.0, margins[0])
    for fired in (0, 1):
        assert fresh[first == fired].std().item() == pytest.approx(SIGMA, rel=0.02)


@pytest.mark.parametrize("margin", [-0.5, -0.2, 0.0, 0.4])
def test_the_mean_slope_is_the_density_that_a_second_noise_would_make(margin):
    """h is taken at the noisy margin, so it is on average that of N(0, 2 sigma^2)."""
    torch.manual_seed(0)
    current = torch.full((1, MANY), 1 + margin, requires_grad=True)
    (slopes,) = torch.autograd.grad(noisy_site(1)(current).sum(), current)
    assert slopes.mean().item() == pytest.approx(density(margin, math.sqrt(2) * SIGMA), rel=0.02)


def literal(current, noise, neuron, cotangent):
    """One neuron after another, in plain floats: spikes, and the gradient by each current."""
    steps, samples, channels = current.shape
    spikes, gradient = torch.zeros_like(current), torch.zeros_like(current)
    for n in range(samples):
        for c in range(channels):
            m, u, s = 0.0, [], []
            for t in range(steps):
                u.append(neuron.decay * m + current[t, n, c].item() + noise[t, n, c].item())
                s.append(1.0 if u[t] >= neuron.threshold else 0.0)
                m = (1 - s[t]) * u[t]
                spikes[t, n, c] = s[t]
            on_m = 0.0
            for t in reversed(range(steps)):
                h = density(u[t] - neuron.threshold, neuron.surrogate.sigma)
                on_u = cotangent[t, n, c].item() * h + on_m * ((1 - s[t]) - u[t] * h)
                gradient[t, n, c] = on_u
                on_m = neuron.decay * on_u
    return spikes, gradient


@pytest.mark.sweep
@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_both_kernels_are_the_loop_over_neurons(kernels):
    steps, samples, channels = 3, 40, 5
    site = Site(Neuron(decay=0.9, threshold=0.6), steps, kernels).eval()
    NDL(sigma=SIGMA).install(site)
    assert site.neuron == Neuron(decay=0.9, threshold=0.6, carries_noise=True, surrogate=Gaussian(SIGMA))
    generator = torch.Generator().manual_seed(0)
    current = torch.rand(steps * samples, channels, generator=generator, dtype=torch.float64) - 0.2
    cotangent = torch.randn(steps, samples, channels, generator=generator, dtype=torch.float64)
    silent = Site(Neuron(decay=0.0, threshold=10.0), steps).eval()  # it only shows the noise
    NDL(sigma=SIGMA).install(silent)
    torch.manual_seed(3)
    with probe(silent, "margins") as record:
        silent(torch.zeros_like(current))
    noise = record[""].margins + 10
    leaf = current.clone().requires_grad_()
    torch.manual_seed(3)
    spikes = site(leaf)
    (found,) = torch.autograd.grad(spikes, leaf, cotangent.flatten(0, 1))
    expected, gradient = literal(current.view(steps, samples, channels), noise, site.neuron, cotangent)
    assert 0.1 < expected.mean() < 0.9
    assert torch.equal(spikes.detach(), expected.flatten(0, 1))
    torch.testing.assert_close(found, gradient.flatten(0, 1), rtol=1e-9, atol=1e-11)


def test_it_is_noisy_at_inference_and_comes_back_from_disk(tmp_path):
    model, images, _ = awake_conv(neuron=Neuron(decay=0.5))
    assert not draws_at_random(model)
    NDL(sigma=0.2).install(model)
    model, images = model.float(), images.float()
    assert draws_at_random(model) and not torch.equal(model(images), model(images))
    save_model(model, tmp_path / "noisy")
    loaded = load_model(tmp_path / "noisy")
    for site in sites(loaded).values():
        assert site.neuron == Neuron(decay=0.5, carries_noise=True, surrogate=Gaussian(0.2))
        assert site.noise_std == 0.2 and site.noise_at_inference
    seen = []
    for network in (model, loaded):
        torch.manual_seed(2)
        seen.append(network(images))
    assert torch.equal(*seen)


def test_two_noises_do_not_go_together(refuses):
    with refuses("NDL", "TGO", "noise"):
        compose([TGO(), NDL()])


@pytest.mark.parametrize("sigma", [0.0, -0.1, math.nan, math.inf])
def test_impossible_noise_is_refused(sigma, refuses):
    with refuses("NDL", "sigma"):
        NDL(sigma=sigma)


def test_a_model_without_sites_is_refused(refuses):
    with refuses("NDL", "sites"):
        NDL().install(nn.Linear(2, 2))
