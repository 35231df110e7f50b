"""StoG: how often a gate lets a spike pass, which way its gradient points, the prior, and how long it learns."""

import math

import pytest
import torch
from torch import nn
from training_steps import step_on

from spikeproof.defenses import AdversarialTraining
from spikeproof.defenses.stochastic_gating import StoG
from spikeproof.models import create_model, load_model, save_model
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.spiking import BernoulliGate, Neuron, sites

MANY = 200_000


@pytest.fixture
def model():
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)
    return create_model("conv", num_classes=4, image_size=8, in_channels=1, num_steps=2, width=0.25, neuron=neuron)


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def gate_at(*rates, flipped=False):
    gate = BernoulliGate(torch.Size([len(rates)]), flipped=flipped).double()
    with torch.no_grad():
        gate.rate.copy_(torch.tensor(rates))
    return gate


def test_a_gate_passes_the_published_share_of_the_spikes():
    torch.manual_seed(0)
    passed = gate_at(1.0, 0.9, 0.5, 0.1, 3.0, -1.0)(torch.ones(4, MANY // 4, 6)).mean((0, 1)).tolist()
    for found, expected in zip(passed, (0.999, 0.899, 0.499, 0.099, 0.999, 0.099), strict=True):
        assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / MANY)


def test_every_sample_step_and_neuron_has_a_draw_of_its_own_and_silence_stays():
    torch.manual_seed(0)
    gate = gate_at(0.5, 0.5)
    drawn = gate(torch.ones(2, MANY, 2))
    for left, right in ((drawn[0, :, 0], drawn[1, :, 0]), (drawn[0, :, 0], drawn[0, :, 1])):
        assert abs((left * right).mean().item() - 0.25) < 0.005
    assert abs((drawn[0, 1:, 0] * drawn[0, :-1, 0]).mean().item() - 0.25) < 0.005
    assert gate(torch.zeros(2, 9, 2)).sum() == 0
    assert set(drawn.unique().tolist()) == {0.0, 1.0}


# What the rate's gradient should be near: the derivative of the expected loss, by differences of long means.

LOSSES = {
    "spikes cost": (lambda out: 3.0 * out.sum(-1), 1),
    "spikes help": (lambda out: -2.0 * out.sum(-1), -1),
    "together they cost": (lambda out: (out.sum(-1) + 0.5).square(), 1),
    "nearer to four spikes": (lambda out: (out.sum(-1) - 4).square(), -1),
}


@pytest.mark.parametrize(("loss", "sign"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
def test_the_gradient_points_where_the_expected_loss_rises(loss, sign, rate):
    def mean_loss(*rates):
        torch.manual_seed(1)
        return loss(gate_at(*rates)(torch.ones(1, MANY, 2))).mean().item()

    slope = (mean_loss(rate + 0.05, 0.5) - mean_loss(rate - 0.05, 0.5)) / 0.1
    gate = gate_at(rate, 0.5)
    torch.manual_seed(2)
    loss(gate(torch.ones(1, MANY, 2))).sum().backward()  # each sample's own loss, which the gate takes the mean of
    assert slope * sign > 0.5
    # The relaxation's width costs up to a factor: 0.86 in the middle, pi / 2 towards 0 and 1, for losses that are
    # linear in each gate; more for those that are not, as the slope is taken where the gates came out.
    assert 0.5 < gate.rate.grad[0].item() / slope < 2.5
    turned = gate_at(rate, 0.5, flipped=True)
    torch.manual_seed(2)
    loss(turned(torch.ones(1, MANY, 2))).sum().backward()
    assert torch.equal(turned.rate.grad, -gate.rate.grad)


def test_the_gradient_of_a_linear_loss_is_that_of_the_relaxation_by_quadrature():
    for rate in (0.2, 0.5, 0.95, 1.0):
        gate = gate_at(rate)
        torch.manual_seed(0)
        gate(torch.ones(1, 5 * MANY, 1)).sum().backward()
        uniform = (torch.arange(4 * MANY, dtype=torch.float64) + 0.5) / (4 * MANY)
        odds = rate / (1 - rate + 1e-3) * uniform / (1 - uniform + 1e-3)
        soft = odds**2 / (1 + odds**2)  # the sigmoid of twice the logarithm
        expected = (2 * soft * (1 - soft)).mean().item() / (rate * (1 - rate + 1e-3))
        assert gate.rate.grad.item() == pytest.approx(expected, rel=0.12 if rate == 1 else 0.03)
        assert 0.8 < expected < 1.6


def test_a_gate_at_its_start_learns_and_one_beyond_its_bounds_does_not():
    gate = gate_at(1.0, 1.001, 0.1, 0.099)
    torch.manual_seed(0)
    gate(torch.ones(1, MANY, 4)).sum().backward()
    assert gate.rate.grad[0] > 0 and gate.rate.grad[2] > 0
    assert gate.rate.grad[1] == 0 and gate.rate.grad[3] == 0


def test_spikes_get_their_gradient_through_open_gates_alone():
    gate = gate_at(0.5)
    spikes = torch.ones(1, 100, 1, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    out = gate(spikes)
    (gradient,) = torch.autograd.grad((7 * out).sum(), spikes)
    assert torch.equal(gradient, 7 * out.detach()) and 20 < out.sum() < 80


def test_install_puts_an_open_gate_on_every_neuron(model, images):
    assert not draws_at_random(model.eval())
    StoG(flipped=True).install(model)
    shapes = [tuple(site.gate.rate.shape) for site in sites(model).values()]
    assert shapes == [(8, 8, 4), (4, 4, 8), (32,)]
    assert all(site.gate.flipped and (site.gate.rate == 1).all() for site in sites(model).values())
    assert draws_at_random(model.eval()) and draws_at_random(model.train())
    with torch.no_grad():
        for site in sites(model.eval()).values():
            site.gate.rate.fill_(0.5)
    assert not torch.equal(model(images), model(images))


def test_gates_have_a_group_of_their_own_whose_decay_is_the_prior(model):
    defense = StoG(prior=1e-3)
    defense.install(model)
    (group,) = defense.groups(model)
    assert group["weight_decay"] == 1e-3 and list(group) == ["params", "weight_decay"]
    assert {id(rate) for rate in group["params"]} == {id(site.gate.rate) for site in sites(model).values()}


def train_by_the_prior_alone(defense, model, steps):
    defense.install(model)
    optimizer = torch.optim.SGD(defense.groups(model), 0.1, momentum=0.9, weight_decay=5e-4)
    rate = next(iter(sites(model).values())).gate.rate
    for step in range(steps):
        for site in sites(model).values():
            site.gate.rate.grad = torch.zeros_like(site.gate.rate)
        defense.after_backward(model, step / steps)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.step()
    return rate


@pytest.mark.parametrize("until", [0.25, 0.5, 1.0])
def test_the_prior_alone_pulls_as_in_a_slow_simulation_and_then_no_more(model, until):
    """The published 200 epochs of 782 steps at 5e-6, at a hundredth of the steps and a hundred times the prior."""
    steps, prior = 1564, 5e-4
    theta, speed = 1.0, 0.0
    for step in range(steps):
        if step / steps < until:
            speed = 0.9 * speed + prior * theta
            theta -= 0.05 * (1 + math.cos(math.pi * step / steps)) * speed
    rate = train_by_the_prior_alone(StoG(prior=prior, until=until), model, steps)
    torch.testing.assert_close(rate.detach(), torch.full_like(rate, theta), rtol=1e-4, atol=0)
    if until == 0.5:
        assert theta == pytest.approx(0.73, abs=0.005)  # as found for the published settings


def test_gates_come_back_from_disk_and_draw_alike(model, images, tmp_path):
    StoG().install(model)
    with torch.no_grad():
        for site in sites(model).values():
            site.gate.rate.uniform_(0.2, 0.9)
    save_model(model, tmp_path / "gated")
    loaded = load_model(tmp_path / "gated")
    seen = []
    for network in (model.eval(), loaded):
        torch.manual_seed(4)
        seen.append(network(images))
    assert torch.equal(*seen) and seen[0].std() > 0.01 and draws_at_random(loaded)


def test_an_attack_goes_through_gates_and_leaves_their_rates_alone(model, images):
    StoG().install(model)
    step = step_on(model, images, torch.tensor([0, 1, 2, 3, 0, 1]))
    crafted = AdversarialTraining(eps=0.05).perturb(step)
    assert 0 < (crafted - images).abs().max() <= 0.05 + 1e-6
    assert all(site.gate.rate.grad is None for site in sites(model).values())


def test_other_models_are_refused(refuses):
    with refuses("StoG", "create_model"):
        StoG().install(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "bad", [{"prior": -1e-6}, {"prior": math.nan}, {"until": 0.0}, {"until": 1.5}, {"until": math.nan}], ids=str
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses("StoG", next(iter(bad))):
        StoG(**bad)
