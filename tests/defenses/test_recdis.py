"""RecDis: its three terms from slow sums, where each is silent, and that training with it raises the overlap."""

import math

import pytest
import torch
from training_steps import after_forward

from spikeproof.data import load_data
from spikeproof.defenses.mpd_sgr import overlap
from spikeproof.defenses.recdis import RecDis
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Record, SiteRecord, Triangle, probe
from spikeproof.train import TrainConfig, train


def penalty_at(mean, std, window=1.0, **settings):
    mean, std = torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[std]], dtype=torch.float64)
    site = SiteRecord(count=4, window=window, total=4 * mean, total_of_squares=4 * (mean**2 + std**2))
    return RecDis(weight=1.0, **settings).penalty(after_forward(Record(a=site), 0.0)).item()


@pytest.mark.parametrize(
    ("mean", "std", "window", "expected"),
    [
        (0.2, 0.8, 1.0, 0.0),  # at the surrogate, on both sides
        (-0.9, 0.5, 1.0, 0.81 - 0.25),  # degenerate
        (0.9, 0.5, 1.0, 0.81 - 0.25),
        (0.0, 1.6, 1.0, 0.36),  # saturated
        (0.1, 0.2, 1.0, 0.04),  # mismatched
        (0.2, 0.4, 2.0, 0.04),  # the same in windows
        (-2.0, 1.5, 1.0, 4 - 2.25 + 0.25),
    ],
)
def test_the_terms(mean, std, window, expected):
    assert penalty_at(mean, std, window) == pytest.approx(expected, abs=1e-12)


def test_the_bounds_are_those_that_are_asked_for():
    assert penalty_at(0.0, 1.6, widest=2.0) == 0
    assert penalty_at(0.0, 0.3, narrowest=0.2) == 0


def test_penalty_is_the_slow_sum():
    torch.manual_seed(0)
    neuron = Neuron(surrogate=Triangle(0.4))
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25, neuron=neuron)
    with probe(model.train(), "moments", "margins") as record:
        model(torch.rand(5, 1, 8, 8))
    per_site = []
    for seen in record.values():
        terms = []
        for margins in seen.margins.double().transpose(1, 2).flatten(3 if seen.margins.ndim > 3 else 2).flatten(0, 1):
            values = [v / 0.4 for v in margins.flatten().tolist()]
            m = sum(values) / len(values)
            s = math.sqrt(max(1e-6 / 0.16, sum((v - m) ** 2 for v in values) / len(values)))
            terms.append(max(0, m * m - s * s) + max(0, s - 1) ** 2 + max(0, 0.5 - abs(m) - s) ** 2)
        per_site.append(sum(terms) / len(terms))
    found = RecDis(weight=0.3).penalty(after_forward(record, 0.0)).item()
    assert found == pytest.approx(0.3 * sum(per_site) / len(per_site), rel=1e-4)


def overlap_after(*defenses):
    """The mean share of potentials under the surrogate after a short training on digits."""
    data = load_data("digits", validation=50, train_limit=320)
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=data.mean, std=data.std, width=0.5)
    config = TrainConfig(epochs=4, batch_size=32, augmentation=None, device="cpu", precision="fp32")
    trained = train(model, data, defenses, config, show=False).model
    with torch.no_grad(), probe(trained, "moments") as record:
        trained(data.validation.images.float() / 255)
    return sum(overlap(*seen.moments(), seen.window).mean().item() for seen in record.values()) / len(record)


def test_training_with_it_raises_the_overlap():
    assert overlap_after(RecDis(weight=0.5)) > 1.15 * overlap_after()


@pytest.mark.parametrize(
    "bad", [{"weight": -1.0}, {"weight": math.nan}, {"widest": 0.5}, {"narrowest": -0.1}, {"widest": math.inf}], ids=str
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses("RecDis", *bad):
        RecDis(**bad)
