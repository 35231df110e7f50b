"""From a vote's probability to the radius in which it stays the majority's: Gaussian noise in L2, Bernoulli in L1.

Randomised smoothing: Cohen, Rosenfeld and Kolter 2019 (ICML). Bernoulli rate coding: Mukhoty et al. 2024 (ICLR).
"""

from __future__ import annotations

# How far the probability of a spike may be from the pixel's brightness: uniforms in float32 have 24 bits, and signed
# coding takes off a mean before it compares.
_GRID = 2.0**-22


def l2_radius(probability: float, sigma: float) -> float:
    """The L2 radius of a majority under Gaussian noise (Cohen et al. 2019, Theorem 1)::

        g(x) = argmax_c P(f(x + N(0, sigma^2 I)) = c),     R = sigma Phi^-1(p)

    g(x + d) = c for all |d| < R, if c has at least the probability p > 1/2 at x. This is the theorem with 1 - p as the
    bound of the second class, as the paper's CERTIFY takes it. f may be random itself, by numbers of its own.

    The noise is added in float32, where the theorem's normal distribution is one of finitely many numbers. The error
    is not counted; Voracek and Hein 2023 build networks for which it matters, and none is known that learned so.

    Args:
        probability: p, a lower bound.
        sigma: of the noise.

    Returns:
        R; 0 where p is no majority, and for an unbounded radius the largest number.

    Example:
        >>> round(l2_radius(0.99, 0.5), 3), l2_radius(0.5, 0.5)
        (1.163, 0.0)
    """
    from scipy.stats import norm  # half a second, which most commands need not wait for

    return max(0.0, float(sigma * norm.ppf(probability)))


def l1_radius(probability: float, num_steps: int, pixels: int) -> float:
    """The L1 radius of a majority of networks that see T steps of Bernoulli spikes::

        g(x) = argmax_c P(f(S) = c),  S_i[t] ~ Bernoulli(x_i) for pixels i and steps t = 1..T, all independent
        r = 1 - (3/2 - p)^(1/T)

    g(x + d) = c for all |d|_1 < r, if c has at least the probability p > 1/2 at x. f is any function of all spikes of
    all steps, and may draw numbers of its own.

    Proof. Let the spikes of both images come from the same uniforms u: S_i[t] = 1[u <= x_i], S'_i[t] = 1[u <= x_i +
    d_i]. One pair differs with probability |d_i|, so all of them agree with probability prod_i (1 - |d_i|)^T, which is
    at least (1 - |d|_1)^T. Where all agree, f says the same. So P(f(S') = c) >= p - 1 + (1 - |d|_1)^T, and that is
    above 1/2 where |d|_1 < r. For signed spikes the same coupling differs with at most that probability: |d_i| on one
    side of the mean, and the larger of the two distances from it where the mean lies between. Where p = 1 no larger
    radius follows from p and T: a function that asks for any spike at a black pixel is broken at r.

    Mukhoty et al. 2024 were the first to see rate coding as smoothing and to give an L1 radius. Their text was not at
    hand for this; their code takes r = p - 1/2 for every T. For T = 1 that is the formula above. For T > 1 it is not
    true of functions that see the steps together, as a spiking network does: the function of the last paragraph has
    p = 1, and at T = 4 it is broken by |d|_1 = 0.16 (``tests/certify/test_radius.py``).

    Rounding: uniforms in float32 make the probability of a spike differ from x_i by less than 2^-22, which is taken
    off the radius for every pixel.

    Args:
        probability: p, a lower bound.
        num_steps: T.
        pixels: how many numbers an image has.

    Returns:
        r; 0 where p is no majority.

    Example:
        >>> round(l1_radius(1.0, 1, 64), 3), round(l1_radius(1.0, 4, 64), 3), l1_radius(0.5, 4, 64)
        (0.5, 0.159, 0.0)
    """
    return max(0.0, 1 - (1.5 - max(probability, 0.5)) ** (1 / num_steps) - pixels * _GRID)
