"""MPD-SGR: Omega, the penalty from slow sums, and where its gradient leads."""

import math

import pytest
import torch
from training_steps import after_forward

from spikeproof.defenses import MPDSGR, overlap
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Rectangular, Sigmoid, Triangle, probe


def new_model(surrogate=None):
    torch.manual_seed(0)
    neuron = Neuron(surrogate=surrogate or Triangle())
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, neuron=neuron, width=0.25)


def some_images(n=6):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def phi(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize(("mean", "std", "omega"), [(-0.5, 0.5, 0.83999), (-1.0, 1.0, 0.47725)])
def test_omega_of_the_references(mean, std, omega):
    assert overlap(torch.tensor(mean), torch.tensor(std), 1.0).item() == pytest.approx(omega, abs=5e-6)


def test_omega_is_the_mass_of_the_normal_in_the_window_and_its_slopes_those_of_eq_14_and_15():
    mean = torch.tensor([-1.3, -0.4, 0.0, 0.8], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([0.3, 1.1, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    window = 0.7
    found = overlap(mean, std, window)
    density = torch.distributions.Normal(mean.detach(), std.detach())
    points = torch.linspace(-window, window, 20001, dtype=torch.float64)[:, None]
    torch.testing.assert_close(found.detach(), torch.trapezoid(density.log_prob(points).exp(), points, dim=0))
    on_mean, on_std = torch.autograd.grad(found.sum(), (mean, std))
    for i in range(4):
        m, s = mean[i].item(), std[i].item()
        above, below = m + window, m - window

        def p(z):
            return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        assert on_mean[i].item() == pytest.approx((p(above / s) - p(below / s)) / s)
        assert on_std[i].item() == pytest.approx((-above * p(above / s) + below * p(below / s)) / s**2)


def slow_penalty(record, window, eta):
    """Eq. 16-18 from the recorded margins: plain sums over samples and positions, one channel and step at a time."""
    per_site = []
    for seen in record.values():
        steps, samples, channels = seen.margins.shape[:3]
        omegas = []
        for t in range(steps):
            for c in range(channels):
                values = [v for n in range(samples) for v in seen.margins[t, n, c].double().flatten().tolist()]
                mean = sum(values) / len(values)
                std = math.sqrt(max(1e-6, sum((v - mean) ** 2 for v in values) / len(values)))
                omegas.append(phi((mean + window) / std) - phi((mean - window) / std))
        per_site.append(sum(omegas) / len(omegas))
    return eta * sum(per_site) / len(per_site)


@pytest.mark.parametrize(
    ("surrogate", "window"),
    [(Triangle(), 1.0), (Triangle(0.4), 0.4), (Rectangular(1.0), 0.5), (Sigmoid(4.0), 1.0), (Sigmoid(10.0), 0.4)],
    ids=str,
)
def test_penalty_is_the_slow_sum_with_the_surrogates_window(surrogate, window):
    model = new_model(surrogate).train()
    with probe(model, "moments", "margins") as record:
        model(some_images())
    found = MPDSGR(eta=0.7).penalty(after_forward(record, 0.0))
    assert found.shape == () and found.requires_grad
    assert found.item() == pytest.approx(slow_penalty(record, window, 0.7), rel=1e-4)


def test_following_its_gradient_empties_the_window():
    model, images = new_model().train(), some_images(32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    penalties = []
    for _ in range(12):
        with probe(model, "moments") as record:
            model(images)
        penalty = MPDSGR(eta=1.0).penalty(after_forward(record, 0.0))
        optimizer.zero_grad()
        penalty.backward()
        if not penalties:
            kinds = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        penalties.append(penalty.item())
        optimizer.step()
    # Every batch norm gain, and every weight before the last site; the readout is not regularised.
    assert {"stem.weight", "body.0.norm.weight", "body.1.weight", "body.2.norm.weight", "body.4.weight"} <= kinds
    assert "body.6.weight" not in kinds
    assert penalties[-1] < 0.9 * penalties[0]


def test_a_warm_up_rises_linearly():
    model = new_model()
    with probe(model, "moments") as record:
        model(some_images())
    full = MPDSGR(eta=0.4).penalty(after_forward(record, 0.0)).item()
    assert full > 0
    rising = MPDSGR(eta=0.4, warmup=0.2)
    for progress, share in ((0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.2, 1.0), (0.99, 1.0)):
        assert rising.penalty(after_forward(record, progress)).item() == pytest.approx(share * full)


@pytest.mark.parametrize(
    "bad",
    [{"eta": -0.1}, {"eta": math.nan}, {"eta": math.inf}, {"warmup": 1.0}, {"warmup": -0.1}, {"warmup": math.nan}],
    ids=str,
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(SpikeproofError, match=next(iter(bad))):
        MPDSGR(**bad)
