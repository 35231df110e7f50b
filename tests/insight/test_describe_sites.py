"""Statistics of sites against numbers computed directly from the margins."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.insight import describe_sites
from spikeproof.models import create_model
from spikeproof.records.audit_json import SiteMargins
from spikeproof.spiking import Neuron, Sigmoid, Site, Triangle, probe, sites


def normal_cdf(x):
    return np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def model_with(neuron, seed=0):
    torch.manual_seed(seed)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, neuron=neuron)
    # Running statistics of real forwards, so that eval mode does not silence the layers.
    model.train()
    for _ in range(5):
        model(torch.rand(64, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(3))  # three batches, the last one smaller


@pytest.mark.parametrize(
    "neuron",
    [
        Neuron(),
        Neuron(threshold=0.5, decay=0.5, surrogate=Triangle(0.4)),
        Neuron(threshold=2.0, reset="soft", surrogate=Sigmoid(8.0)),
    ],
    ids=["if", "lif", "soft"],
)
def test_against_the_margins_themselves(images, neuron):
    model = model_with(neuron)
    seen = []
    with torch.no_grad(), probe(model, "margins") as record:
        for part in images.split(50):  # the parts that it takes: a batch's size changes rounding
            model(part)
            seen.append({name: site.margins for name, site in record.items()})
    described = describe_sites(model, images)
    assert [site.name for site in described] == list(record) == ["body.0", "body.2", "body.5"]
    for site in described:
        together = torch.cat([part[site.name] for part in seen], 1)
        margins = together.double().numpy()  # [T, N, C, ...]
        per_channel = np.moveaxis(margins.reshape(*margins.shape[:3], -1), 2, 1).reshape(4, margins.shape[2], -1)
        window = neuron.surrogate.window
        mean, deviation = per_channel.mean(-1), np.sqrt(np.maximum(per_channel.var(-1), 1e-6))
        omega = normal_cdf((mean + window) / deviation) - normal_cdf((mean - window) / deviation)
        assert site.window == window
        assert site.omega == pytest.approx(omega.mean(), rel=1e-4)
        assert site.window_share == (np.abs(margins) < window).mean()
        assert site.proximal_width == neuron.threshold / 2
        assert site.proximal_share == (np.abs(margins) < neuron.threshold / 2).mean()
        assert site.firing_rate == (margins >= 0).mean()
        assert len(site.edges) == 65
        assert len(site.counts) == 64
        inside = torch.histc(together, 64, site.edges[0], site.edges[-1])
        assert list(site.counts) == inside.long().tolist()
        # The edges belong to the counts: those below an edge are as many as the margins below it (rounding aside).
        for index in (16, 32, 48):
            below = ((margins >= site.edges[0]) & (margins < site.edges[index])).sum()
            assert abs(sum(site.counts[:index]) - below) <= 2
        assert sum(site.counts) >= 0.97 * margins.size
        assert site.edges[0] <= -window
        assert site.edges[-1] >= window


def test_firing_rate_is_the_rate_of_the_spikes(images):
    model = model_with(Neuron())
    with torch.no_grad(), probe(model, "rate") as record:
        model(images)
    for site in describe_sites(model, images):
        assert site.firing_rate == pytest.approx(record[site.name].rate.item(), rel=1e-5)
    assert any(site.firing_rate > 0.01 for site in describe_sites(model, images))


class OneSite(nn.Module):
    """The image's pixels are the currents of one site."""

    def __init__(self, neuron, num_steps=1):
        super().__init__()
        self.site = Site(neuron, num_steps)

    def forward(self, images):
        return self.site(images).flatten(1)


def test_one_site_by_hand():
    # One step, threshold 1: the margin is the current - 1. Channel 0: -0.5 or 0.5; channel 1: always -0.9.
    images = torch.empty(4, 2, 1, 1)
    images[:, 0, 0, 0] = torch.tensor([0.5, 1.5, 0.5, 1.5])
    images[:, 1] = 0.1
    (site,) = describe_sites(OneSite(Neuron(surrogate=Triangle(1.0))), images)
    assert site.name == "site"
    # N(0, 0.5) has erf(sqrt(2)) = 0.9545 of its mass in [-1, 1]; N(-0.9, 0.001) all of it.
    assert site.omega == pytest.approx((math.erf(math.sqrt(2)) + 1) / 2, rel=1e-6)
    assert site.window_share == 1
    assert site.firing_rate == 0.25
    assert site.proximal_share == 0  # |v| < 0.5 is strict, and 0.5 is on the edge
    assert (site.edges[0], site.edges[-1]) == pytest.approx((-1.1, 1.1))
    filled = {index: count for index, count in enumerate(site.counts) if count}
    width = 2.2 / 64
    assert filled == {int((-0.9 + 1.1) / width): 4, int((-0.5 + 1.1) / width): 2, int((0.5 + 1.1) / width): 2}


def test_steps_count_separately():
    # Currents of 0.6 at every step, no decay lost: margins -0.4, then +0.2 (a spike), then -0.4, then +0.2.
    (site,) = describe_sites(OneSite(Neuron(), num_steps=4), torch.full((8, 1, 1, 1), 0.6))
    assert site.firing_rate == 0.5
    assert site.proximal_share == 1.0
    assert sum(site.counts) == 8


def test_no_sites_no_statistics():
    assert describe_sites(nn.Flatten(), torch.rand(2, 1, 3, 3)) == []


def test_the_model_is_left_as_it_was(images):
    model = model_with(Neuron()).train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    state = torch.get_rng_state()
    describe_sites(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(site.request is None for site in sites(model).values())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_statistics_are_what_a_report_reads(images):
    for site in describe_sites(model_with(Neuron()), images):
        assert SiteMargins.model_validate(site.plain()) == site
