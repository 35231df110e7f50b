"""Radii: against what can be computed exactly, and the bound of a probability against every count that can come up."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from spikeproof.certify import l1_radius, l2_radius
from spikeproof.counts import at_least


@pytest.mark.parametrize("trials", [1, 7, 40])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_the_bound_of_a_probability_is_too_high_in_at_most_a_share_alpha(trials, alpha):
    bounds = np.array([at_least(count, trials, alpha) for count in range(trials + 1)])
    assert bounds[0] == 0 and (np.diff(bounds) > 0).all()
    for probability in np.linspace(0.01, 0.99, 99):
        missed = binom.pmf(np.arange(trials + 1), trials, probability)[bounds > probability].sum()
        assert missed <= alpha + 1e-12
    # No bound is lower than it need be: at the bound itself so many successes have exactly this probability.
    for count in range(1, trials + 1):
        assert binom.sf(count - 1, trials, bounds[count]) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize("distance", [0.1, 0.7, 2.0])
def test_the_l2_radius_is_the_distance_to_a_hyperplane(distance):
    """Of a linear classifier the smoothed one is itself, so the theorem is exact: nothing larger is true."""
    sigma = 0.5
    probability = norm.cdf(distance / sigma)
    assert l2_radius(probability, sigma) == pytest.approx(distance)


def test_no_majority_no_radius():
    assert l2_radius(0.5, 1.0) == l2_radius(0.2, 1.0) == l1_radius(0.5, 4, 10) == l1_radius(0.1, 4, 10) == 0


def share_of_spikes(image, steps):
    """The probability of every pattern of spikes [2^(pixels * steps)] of Bernoulli coding."""
    return functools.reduce(np.kron, [np.array([1 - x, x]) for x in image for _ in range(steps)])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_l1_radius_holds_for_functions_of_all_spikes(steps):
    """Two pixels: each pattern of spikes is counted, for functions that are drawn, and images all over the ball."""
    random, nearest = np.random.default_rng(steps), math.inf
    for _ in range(150):
        says_first = random.random(2 ** (2 * steps)) < random.choice([0.5, 0.8, 0.95])
        image = random.choice([0.0, 0.02, 0.3, 0.7, 1.0], size=2)
        probability = float(share_of_spikes(image, steps)[says_first].sum())
        radius = l1_radius(probability, steps, 2)
        for _ in range(20 if radius else 0):
            share = random.random()
            moved = radius * 0.999 * np.array([share, 1 - share]) * random.choice([-1, 1], size=2)
            moved = np.clip(image + moved, 0, 1)
            there = float(share_of_spikes(moved, steps)[says_first].sum())
            assert there > 0.5
            nearest = min(nearest, there)
    assert nearest < 0.65  # some come near, so that a radius much too large would show


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_l1_radius_cannot_be_larger_where_the_vote_is_unanimous(steps):
    """Any spike at a black pixel changes the answer: the majority falls right behind the radius."""
    radius = l1_radius(1.0, steps, 1)
    quiet = lambda brightness: (1 - brightness) ** steps  # noqa: E731
    assert quiet(radius) > 0.5 > quiet(radius + 1e-5)


def test_half_a_probability_is_no_radius_of_several_steps():
    """p - 1/2, as the code of Mukhoty et al. has it, would be 0.5 here; at T = 4 a change of 0.16 is enough."""
    assert (1 - 0.16) ** 4 < 0.5 < 1.0
    assert l1_radius(1.0, 4, 1) < 0.16 < 1.0 - 0.5
    assert l1_radius(0.9, 1, 1) == pytest.approx(0.4, abs=1e-6)  # at one step the two are the same


def test_a_spike_is_as_probable_as_its_pixel_is_bright():
    """What the margin for uniforms in float32 rests on: they are multiples of 2^-24."""
    drawn = torch.rand(100_000, dtype=torch.float32)
    assert torch.equal(drawn * 2**24, (drawn * 2**24).round()) and float(drawn.max()) < 1
