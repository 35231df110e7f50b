"""Votes under noise: what is counted, what it proves, and that no attack on the smoothed network breaks that."""

import pytest
import torch
from torch import nn

from digit_networks import network
from spikeproof.attacks import Crafting, look_at, pgd
from spikeproof.audit import AuditConfig, audit
from spikeproof.certify import CertifyConfig, Smoothed, broken_though_proved, certify, count_votes, l1_radius, l2_radius
from spikeproof.coding import Poisson, SignedRate
from spikeproof.counts import at_least
from spikeproof.data import load_data
from spikeproof.threat import L2


class HalfSpace(nn.Module):
    """Two classes: on which side of x_0 = 1/2 the first pixel is."""

    def forward(self, images):
        side = images[:, 0, 0, 0] - 0.5
        return torch.stack([side, -side], 1)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=100).test


def test_a_half_space_is_certified_to_its_border_and_not_beyond():
    """The truth is the distance to 1/2. 4,000 draws show nearly all of it, and none of 200 images gets more."""
    sigma, draws = 0.2, 4000
    brightness = torch.linspace(0.05, 0.95, 201)
    images = torch.zeros(201, 1, 2, 2)
    images[:, 0, 0, 0] = brightness
    torch.manual_seed(0)
    counts = count_votes(HalfSpace(), images, sigma, draws, copies=50)
    assert (counts.sum(1) == draws).all()
    radii = torch.tensor([l2_radius(at_least(int(count.max()), draws, 1e-6), sigma) for count in counts])
    true = (brightness - 0.5).abs()
    assert (radii <= true).all()
    assert (radii[true > 0.1] > 0.75 * true[true > 0.1]).all()


def test_draws_are_fresh_in_every_forward_and_copy():
    counts = count_votes(HalfSpace(), torch.full((3, 1, 1, 1), 0.5), 0.1, 600, copies=7)
    assert counts.shape == (3, 2) and (counts.sum(1) == 600).all()
    assert ((counts[:, 0] - 300).abs() < 100).all() and len(set(counts[:, 0].tolist())) > 1


def test_a_smoothed_network_gives_votes_whose_gradient_is_that_of_its_probabilities():
    model, images = Smoothed(network("tiny"), 0.2).eval(), torch.rand(4, 1, 8, 8, requires_grad=True)
    votes = model(images)
    assert torch.equal(votes.detach().sort(1).values[:, -1], torch.ones(4)) and torch.equal(votes.sum(1), torch.ones(4))
    (gradient,) = torch.autograd.grad(votes[:, 3].sum(), images)
    assert gradient.isfinite().all() and gradient.any()
    assert look_at(model, images.detach()).drawn
    assert not look_at(Smoothed(network("tiny"), 0).eval(), images.detach()).drawn


def test_no_attack_on_the_smoothed_network_breaks_its_certificate(digits):
    sigma, model = 0.25, network("learned")
    found = certify(model, digits, CertifyConfig(sigma=sigma, eps=0.2, n=100, n0=20, samples=16), show=False)
    assert 2 < found.certified.correct < found.clean.correct
    smoothed = Smoothed(model, sigma)
    proved = torch.tensor([each.sample for each in found.outcomes if each.right and each.radius >= 0.2])
    images, labels = digits.images[proved].float() / 255, digits.labels[proved]
    attacked = pgd(smoothed, images, labels, L2(0.2), Crafting(eot_iter=4, judge_draws=10), steps=3)
    assert attacked.correct.all()
    assert not pgd(smoothed, images, labels, L2(3.0), Crafting(judge_draws=10), steps=3).correct.all()


@pytest.mark.thorough
def test_an_audit_of_the_smoothed_network_lies_above_its_certificate(digits):
    sigma, model = 0.25, network("tiny")
    found = certify(model, digits, CertifyConfig(sigma=sigma, eps=0.2, n=300, samples=8), show=False)
    asked = {"battery": None, "trials": ("PGD-3",), "diagnostics": False, "sweep_samples": 2, "eot_iter": 2}
    config = AuditConfig(norm="l2", eps=0.2, samples=8, **asked)
    audited = audit(Smoothed(model, sigma), digits, config, show=False)
    assert audited.audited_images == found.images
    assert broken_though_proved(found, audited.outcomes, 0.2) == ()
    assert found.certified.accuracy <= audited.worst_case.accuracy


@pytest.mark.parametrize("coding", [Poisson(), SignedRate()], ids=lambda coding: type(coding).__name__)
def test_a_network_of_bernoulli_spikes_is_certified_by_its_own_votes(digits, coding):
    model = network("learned")
    model.set_coding(coding)
    config = CertifyConfig(method="rate", eps=0.05, n=60, n0=10, samples=8, seed=3)
    found = certify(model, digits, config, show=False)
    again = certify(model, digits, config, show=False)
    assert found.outcomes == again.outcomes
    assert (found.norm, found.of_votes) == ("l1", True)
    largest = l1_radius(at_least(60, 60, config.alpha), model.num_steps, 64)
    radii = [each.radius for each in found.outcomes]
    assert 0 < max(radii) <= largest < 0.2
    assert all((each.radius == 0) == (each.predicted is None) for each in found.outcomes)


def test_adapted_networks_are_smoothed_too(digits):
    snntorch = pytest.importorskip("snntorch")
    from spikeproof.interop import adapt

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), snntorch.Leaky(beta=0.9, init_hidden=True))
    model = adapt(net, num_steps=4)
    found = certify(model, digits, CertifyConfig(n=40, n0=10, samples=6, alpha=0.1), show=False)
    assert found.samples == 6 and all(each.radius < 1 for each in found.outcomes)
