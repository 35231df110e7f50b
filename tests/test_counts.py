"""The 95 % bounds of a measured accuracy, and the test of two networks on the same images."""

import math

import pytest

from spikeproof.counts import mcnemar, wilson


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    # Published values of the score interval, to four digits; 81/263 is Newcombe's (1998) example.
    [
        (0, 100, 0.0, 0.0370),
        (50, 100, 0.4038, 0.5962),
        (100, 100, 0.9630, 1.0),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_known_values(correct, samples, low, high):
    assert wilson(correct, samples) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("samples", [1, 7, 100, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_each_bound_solves_the_score_equation(samples, share):
    """Where (p_hat - p)^2 = z^2 p (1 - p) / n, the interval's definition, not its solved formula."""
    correct = round(share * samples)
    low, high = wilson(correct, samples)
    for bound in (low, high):
        distance = abs(correct / samples - bound)
        deviation = 1.959963984540054 * math.sqrt(bound * (1 - bound) / samples)
        # At 0 and at n one bound is the edge, where both sides vanish (but for the root of one rounding).
        assert distance == pytest.approx(deviation, rel=1e-9, abs=1e-7)
    assert 0 <= low < high <= 1


def test_bounds_mirror():
    low, high = wilson(13, 50)
    assert wilson(37, 50) == pytest.approx((1 - high, 1 - low), rel=1e-12)


def test_more_samples_narrow_the_bounds():
    widths = [high - low for low, high in (wilson(n // 4, n) for n in (20, 200, 2000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(10 * widths[2], rel=0.1)


def test_mcnemar():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(8, 1) == mcnemar(1, 8) == pytest.approx(0.0390625)  # 2 * (1 + 9) / 2^9
    assert mcnemar(5, 5) == 1.0
