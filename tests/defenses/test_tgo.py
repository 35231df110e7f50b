"""TGO: the hinge from slow sums, the rise of lambda, and the noise it installs."""

import math

import pytest
import torch
from torch import nn
from training_steps import after_forward

from spikeproof.defenses import TGO
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Hinge, Record, probe, sites


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.25).train()


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("delta", [0.2, 0.9])
def test_mc_is_the_slow_sum_over_sites_of_the_mean_hinge(model, images, delta):
    defense = TGO(lambda_max=0.6, delta=delta, sigma=0.0)
    assert defense.needs.cost == Hinge(delta) and not defense.needs.moments
    with probe(model, "margins", cost=defense.needs.cost) as record:
        model(images)
    expected = 0.0
    for seen in record.values():
        margins = seen.margins.double().flatten().tolist()
        expected += sum(max(0.0, delta - abs(v)) for v in margins) / len(margins)
    assert expected > 0
    for progress, weight in ((0.0, 0.0), (0.5, 0.3), (1 / 3, 0.15), (1 - 1e-9, 0.6)):
        assert defense.penalty(after_forward(record, progress)).item() == pytest.approx(
            weight * expected, rel=1e-5, abs=1e-12
        )


def test_following_mc_drives_potentials_from_the_threshold(model, images):
    defense = TGO(lambda_max=1.0, delta=0.5, sigma=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    near = []
    for _ in range(12):
        with probe(model, "margins", cost=Hinge(0.5)) as record:
            model(images)
        near.append(sum((seen.margins.abs() < 0.5).float().mean().item() for seen in record.values()))
        optimizer.zero_grad()
        defense.penalty(after_forward(record, 0.9)).backward()
        optimizer.step()
    assert near[-1] < 0.9 * near[0]


@pytest.mark.parametrize("at_inference", [False, True])
def test_install_sets_the_noise_of_every_site(model, images, at_inference):
    TGO(sigma=0.25, noise_at_inference=at_inference).install(model)
    assert {(site.noise_std, site.noise_at_inference) for site in sites(model).values()} == {(0.25, at_inference)}
    assert all(site.noisy for site in sites(model).values())
    assert all(site.noisy == at_inference for site in sites(model.eval()).values())
    model.train()
    assert not torch.equal(model(images), model(images))


def test_without_mc_nothing_is_recorded_or_added(model):
    noise_only = TGO(lambda_max=0.0, sigma=0.2)
    assert noise_only.needs.cost is None
    assert noise_only.penalty(after_forward(Record(), 0.5)) is None


def test_a_model_without_sites_is_refused():
    with pytest.raises(SpikeproofError, match="sites"):
        TGO().install(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "bad",
    [
        {"lambda_max": -0.1},
        {"lambda_max": math.nan},
        {"lambda_max": math.inf},
        {"sigma": -0.1},
        {"sigma": math.nan},
        {"sigma": math.inf},
        {"delta": 0.0},
        {"delta": math.nan},
        {"delta": math.inf},
        {"lambda_max": 0.0, "sigma": 0.0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(SpikeproofError, match=next(iter(bad))):
        TGO(**bad)
