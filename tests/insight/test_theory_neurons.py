"""Theorem 1 and the flips of TGO: formulas against scipy and sums by hand, simulations against formulas."""

import math

import pytest
import torch
from scipy.stats import norm

from spikeproof.insight.theory import (
    firing_slope,
    flip_probability,
    simulated_firing,
    simulated_potentials,
    unreset_moments,
)
from spikeproof.spiking import Neuron, Triangle

COUNT = 40_000
# Five standard errors of a standard deviation of 1 from so many normal draws.
NEAR = 5 / math.sqrt(2 * COUNT)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
def test_the_theorem_is_the_sum_of_its_terms(decay):
    mean, spread = unreset_moments(decay, 0.3, 0.7, 6)
    _, constant = unreset_moments(decay, 0.3, 0.7, 6, "constant")
    for t in range(1, 7):
        kept = [decay ** (t - i) for i in range(1, t + 1)]
        assert mean[t - 1] == pytest.approx(0.3 * sum(kept))
        assert spread[t - 1] == pytest.approx(0.7 * math.sqrt(sum(part**2 for part in kept)))
        assert constant[t - 1] == pytest.approx(0.7 * sum(kept))


@pytest.mark.parametrize("currents", ["independent", "constant"])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_neurons_without_resets_follow_the_formula(decay, currents):
    said, spread = unreset_moments(decay, 0.2, 1.0, 8, currents)
    found = simulated_potentials(Neuron(decay=decay), 0.2, 1.0, 8, currents=currents, resets=False, count=COUNT)
    assert torch.allclose(found.std / spread, torch.ones(8, dtype=torch.float64), atol=NEAR)
    assert ((found.mean - said).abs() < 5 * spread / math.sqrt(COUNT)).all()
    # Their potentials are normal, so Omega is the share.
    assert torch.allclose(found.window_share, found.omega, atol=5 * 0.5 / math.sqrt(COUNT))


def test_direct_coding_breaks_the_theorem():
    # Half of the neurons (x > 0 reset at some step; x < 0 never do): methods' numbers, sd 5.1 at t = 8 against 2.8.
    found = simulated_potentials(Neuron(), 0.0, 1.0, 8, currents="constant", count=COUNT)
    said = unreset_moments(1.0, 0.0, 1.0, 8)[1]
    assert said[-1] == pytest.approx(math.sqrt(8))
    assert found.std[-1] == pytest.approx(5.14, abs=0.15)
    # Omega, by the measured moments, says half of what is there.
    assert found.window_share.mean() == pytest.approx(norm.cdf(2) - norm.cdf(0), abs=0.015)
    assert found.omega.mean() == pytest.approx(0.24, abs=0.01)


def test_independent_currents_with_resets_by_hand():
    # Two steps, decay 1: u[2] = u[1] 1[u[1] < 1] + x[2], so its mean is that of x below 1: -phi(1).
    found = simulated_potentials(Neuron(), 0.0, 1.0, 2, count=COUNT)
    carried = norm.cdf(1) - norm.pdf(1)  # E x^2 1[x < 1]
    assert found.mean[1] == pytest.approx(-norm.pdf(1), abs=0.03)
    assert found.std[1] == pytest.approx(math.sqrt(1 + carried - norm.pdf(1) ** 2), abs=0.03)


def test_the_window_is_the_surrogates_around_the_threshold():
    neuron = Neuron(threshold=2.0, surrogate=Triangle(0.5))
    found = simulated_potentials(neuron, 1.0, 1.0, 1, count=COUNT)
    assert found.window_share[0] == pytest.approx(norm.cdf(1.5) - norm.cdf(0.5), abs=0.015)
    still = simulated_potentials(neuron, 1.9, 0.0, 1, resets=False, count=2)
    assert (still.window_share[0], still.std[0]) == (1, 0)


def test_simulations_keep_their_seed_and_leave_the_generator():
    state = torch.get_rng_state()
    pairs = [simulated_potentials(Neuron(), 0.0, 1.0, 2, count=50, seed=seed).mean for seed in (1, 1, 2)]
    fired = [simulated_firing(torch.zeros(1), 1.0, count=50, seed=seed) for seed in (1, 1)]
    assert torch.equal(pairs[0], pairs[1])
    assert not torch.equal(pairs[0], pairs[2])
    assert torch.equal(*fired)
    assert torch.equal(torch.get_rng_state(), state)


MARGINS = torch.tensor([-1.5, -0.4, -0.1, 0.0, 0.1, 0.4, 1.5])


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_the_noisy_site_fires_as_the_formula_says(sigma):
    fired = simulated_firing(MARGINS, sigma, count=COUNT)
    assert torch.allclose(fired, torch.tensor(norm.cdf(MARGINS / sigma)).float(), atol=5 * 0.5 / math.sqrt(COUNT))
    flipped = torch.where(MARGINS >= 0, 1 - fired, fired)
    assert torch.allclose(flipped, flip_probability(MARGINS, sigma), atol=5 * 0.5 / math.sqrt(COUNT))


def test_flips_grow_with_sigma_and_near_the_threshold():
    margins = MARGINS.double()
    flips = torch.stack([flip_probability(margins, sigma) for sigma in (0.2, 0.5, 1.0, 2.0)])
    off = margins != 0
    assert (flips.diff(dim=0)[:, off] > 0).all()
    assert (flips[:, ~off] == 0.5).all()
    assert (flips[:, :4].diff(dim=1) > 0).all()
    assert (flips[:, 3:].diff(dim=1) < 0).all()


def test_the_slope_falls_with_sigma_exactly_where_z_is_below_one():
    margins, sigma, small = torch.linspace(-2, 2, 41, dtype=torch.float64), 0.73, 1e-4
    slope = firing_slope(margins, sigma)
    assert torch.allclose(slope, torch.tensor(norm.pdf(margins, scale=sigma)))
    change = firing_slope(margins, sigma + small) - firing_slope(margins, sigma - small)
    assert torch.equal(change < 0, (margins / sigma).abs() < 1)
    rise = (norm.cdf((margins + small) / sigma) - norm.cdf((margins - small) / sigma)) / (2 * small)
    assert torch.allclose(slope, torch.tensor(rise), atol=1e-6)


def test_what_is_no_neuron_current_or_noise(refuses):
    with refuses("steps >= 1", "got 0"):
        unreset_moments(1.0, 0.0, 1.0, 0)
    with refuses("decay", "[0, 1]", "1.5"):
        unreset_moments(1.5, 0.0, 1.0, 2)
    with refuses("standard deviation", "-1.0"):
        simulated_potentials(Neuron(), 0.0, -1.0, 2)
    with refuses("neurons >= 2", "got 1"):
        simulated_potentials(Neuron(), 0.0, 1.0, 2, count=1)
    for function in (flip_probability, firing_slope, simulated_firing):
        with refuses("sigma > 0", "got 0.0"):
            function(torch.zeros(1), 0.0)
    with refuses("draws >= 1", "got 0"):
        simulated_firing(torch.zeros(1), 1.0, count=0)
