"""NLIF: the noise moves the firing decision with the stated probability, and nothing else."""

import math

import pytest
import torch

from spikeproof.models import create_model
from spikeproof.spiking import Hinge, Neuron, Site, inference_noise, probe, sites

SIGMA = 0.3
MANY = 200_000


def phi(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def noisy_site(num_steps, **neuron):
    site = Site(Neuron(**neuron), num_steps)
    site.noise_std = SIGMA
    return site.train()


@pytest.mark.parametrize("margin", [-0.6, -0.3, 0.0, 0.1, 0.5])
def test_firing_probability_is_that_of_the_paper(margin):
    torch.manual_seed(0)
    rate = noisy_site(1)(torch.full((MANY, 1), 1 + margin)).mean().item()
    expected = phi(margin / SIGMA)
    assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / MANY)


def test_carried_potential_is_free_of_noise():
    """After a silent first step every neuron carries the same potential, whatever its noise was."""
    torch.manual_seed(0)
    site = noisy_site(2, decay=0.5)
    current = torch.cat([torch.full((MANY, 1), 0.8), torch.full((MANY, 1), 0.5)])
    with probe(site, "margins") as record:
        first, second = site(current).view(2, MANY)
    margins = record[""].margins[1].flatten()
    # 0.5 * 0.8 + 0.5 - 1 = -0.1 when silent; reset to 0 when fired: 0.5 - 1.
    torch.testing.assert_close(margins, torch.where(first == 1, -0.5, -0.1), rtol=0, atol=1e-6)
    for fired, margin in ((0, -0.1), (1, -0.5)):
        chosen = second[first == fired]
        expected = phi(margin / SIGMA)
        assert abs(chosen.mean().item() - expected) < 4 * math.sqrt(expected * (1 - expected) / len(chosen))


def test_statistics_are_free_of_noise():
    current = torch.rand(2 * 40, 6) * 0.4
    seen = {}
    for std in (0.0, 0.01):  # far too little to fire at margins below -0.2
        site = noisy_site(2)
        site.noise_std = std
        with probe(site, "moments", cost=Hinge(0.7)) as record:
            assert site(current).sum() == 0
        seen[std] = record[""]
    assert torch.equal(seen[0.0].total, seen[0.01].total)
    assert torch.equal(seen[0.0].total_of_squares, seen[0.01].total_of_squares)
    assert torch.equal(seen[0.0].cost_total, seen[0.01].cost_total)


def test_noise_of_steps_neurons_and_samples_is_independent():
    torch.manual_seed(0)
    spikes = noisy_site(2, decay=0.0)(torch.ones(2 * MANY, 2)).view(2, MANY, 2)  # each fires with probability 1/2
    a, b, c = spikes[0, :, 0], spikes[1, :, 0], spikes[0, :, 1]
    for left, right in ((a, b), (a, c), (a[1:], a[:-1])):
        both = (left * right).mean().item()
        assert abs(both - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(left))


def test_noise_is_off_in_eval_on_where_asked_and_restored():
    torch.manual_seed(0)
    model = create_model("conv", num_classes=4, image_size=8, in_channels=1, num_steps=2, neuron=Neuron(threshold=0.25))
    for site in sites(model).values():
        site.noise_std = SIGMA
    images = torch.rand(3, 1, 8, 8)
    model.eval()
    assert torch.equal(model(images), model(images))
    with inference_noise(model, True):
        assert not torch.equal(model(images), model(images))
        with inference_noise(model, False):
            assert torch.equal(model(images), model(images))
        assert not torch.equal(model(images), model(images))
    assert torch.equal(model(images), model(images))
    first, *_ = sites(model).values()
    first.noise_at_inference = True
    with pytest.raises(ZeroDivisionError), inference_noise(model, False):
        raise ZeroDivisionError
    assert [site.noise_at_inference for site in sites(model).values()] == [True, False, False]
