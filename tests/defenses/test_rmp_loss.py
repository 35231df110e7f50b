"""RMP-Loss: the quantisation error from slow sums and by finite differences, and what it does to the overlap."""

import math

import pytest
import torch
from test_recdis import overlap_after
from training_steps import after_forward

from spikeproof.defenses.defense import compose, watch
from spikeproof.defenses.rmp_loss import RMPLoss
from spikeproof.defenses.tgo import TGO
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Cost, Neuron, probe
from spikeproof.spiking.cost import QuantisationError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.25).train()


@pytest.mark.parametrize("power", [1.0, 2.0, 1.5])
def test_the_error_is_the_distance_to_the_spike(power):
    error = QuantisationError(threshold=0.8, level=1.2, power=power)
    assert isinstance(error, Cost)
    margins = torch.tensor([-3.0, -0.8, -0.3, -1e-9, 0.0, 0.4, 1.1], dtype=torch.float64, requires_grad=True)
    expected = [abs(v + 0.8 - (1.2 if v >= 0 else 0.0)) ** power for v in margins.tolist()]
    assert error(margins).tolist() == pytest.approx(expected)
    away = torch.tensor([-3.0, -0.6, -0.3, 0.1, 0.6, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(error, away)


def test_penalty_is_the_slow_sum_and_rises_linearly(model):
    defense = RMPLoss(weight=0.4, power=1.0, level=1.5)
    with probe(model, "margins", cost=defense.needs.cost) as record:
        model(torch.rand(5, 1, 8, 8))
    means = []
    for seen in record.values():
        margins = seen.margins.double().flatten().tolist()
        means.append(sum(abs(v + 1 - 1.5 * (v >= 0)) for v in margins) / len(margins))
    for progress in (0.0, 0.25, 0.9):
        found = defense.penalty(after_forward(record, progress)).item()
        assert found == pytest.approx(0.4 * progress * sum(means) / len(means), rel=1e-5, abs=1e-12)


def test_following_it_draws_potentials_to_their_spikes(model):
    defense, images = RMPLoss(weight=1.0), torch.rand(8, 1, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    errors = []
    for _ in range(12):
        with watch(model, defense.needs) as record:
            model(images)
        penalty = defense.penalty(after_forward(record, 0.5))
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        errors.append(penalty.item())
    assert errors[-1] < 0.9 * errors[0]


def test_training_with_it_raises_the_overlap():
    assert overlap_after(RMPLoss(weight=1.0)) > 1.15 * overlap_after()


def test_another_threshold_is_refused(refuses):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, neuron=Neuron(threshold=0.5))
    RMPLoss(threshold=0.5).install(model)
    with refuses("RMPLoss(threshold=0.5)"):
        RMPLoss().install(model)


def test_it_shares_the_sites_one_sum_with_no_other_cost():
    with pytest.raises(SpikeproofError, match="different sums"):
        compose([RMPLoss(), TGO()])
    assert compose([RMPLoss(), TGO(width="spread")]).moments


@pytest.mark.parametrize(
    "bad", [{"weight": -1.0}, {"weight": math.nan}, {"power": 0.5}, {"level": -1.0}, {"threshold": math.inf}], ids=str
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses(*bad):
        RMPLoss(**bad)
