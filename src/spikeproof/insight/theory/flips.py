"""How often firing noise flips a spike: TGO's theorems, and the library's own noisy site beside them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.checked import check_seed, real, whole
from spikeproof.kinds import check_kinds
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Neuron, Site

_MOST = 1e6
_MOST_DRAWS = 10_000_000


@check_kinds
def flip_probability(margins: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """The probability that noise N(0, sigma^2) on the margin v changes whether the neuron fires::

        P(flip) = Phi(-|z|),   z = v / sigma

    It grows with sigma at every v other than 0, up to 1/2.

    Args:
        margins: v = u - threshold.
        sigma: > 0.

    Raises:
        SpikeproofError: a sigma that is not positive.

    Source: TGO (2026), Theorem 1. Its Theorem 3 says that the probability falls with sigma where z^2 < 1.

    Example:
        >>> flip_probability(torch.tensor([0.0, 0.5]), 0.5)
        tensor([0.5000, 0.1587])
    """
    return torch.special.ndtr(-margins.abs() / _positive(sigma))


@check_kinds
def firing_slope(margins: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """How fast the probability to fire, Phi(v / sigma), rises with the margin v::

        dP(fire) / dv = phi(z) / sigma,   d(slope) / dsigma = phi(z) (z^2 - 1) / sigma^2

    So this is what falls with sigma where z^2 < 1: not how often noise flips the spike, but how much a small change of
    the potential moves the mean spike.

    Args:
        margins: v = u - threshold.
        sigma: > 0.

    Raises:
        SpikeproofError: a sigma that is not positive.

    Source: the derivative of TGO's P(s = 1); that its Theorem 3 holds for it is our reading.

    Example:
        >>> firing_slope(torch.tensor(0.0), 0.5)
        tensor(0.7979)
    """
    z = margins / _positive(sigma)
    return torch.exp(-z * z / 2) / ((2 * torch.pi) ** 0.5 * sigma)


@torch.no_grad()
@check_kinds
def simulated_firing(
    margins: Float[Tensor, " m"], sigma: float, *, count: int = 100_000, seed: int = 0
) -> Float[Tensor, " m"]:
    """How often one step of a noisy site fires at each margin v: the share of ``count`` draws, float32.

    A noise-free neuron fires where v >= 0, so the share of flips is 1 minus this there, and this below 0.

    Args:
        margins: v = u - threshold.
        sigma: of the site's noise, > 0.
        count: draws for each margin.
        seed: of the noise.

    Raises:
        SpikeproofError: a number that is not in its range.

    Example:
        >>> simulated_firing(torch.tensor([-9.0, 9.0]), 0.5, count=10)
        tensor([0., 1.])
    """
    _positive(sigma)
    whole(count, "A simulation", "draws", 1, _MOST_DRAWS)
    check_seed(seed, "A simulation")
    site = Site(Neuron(), num_steps=1)
    site.noise_std, site.noise_at_inference = sigma, True
    site.eval()
    currents = (margins.float() + site.neuron.threshold).expand(count, -1)
    with private_rng():
        torch.manual_seed(seed)
        fired: Tensor = site(currents)
    return fired.mean(0)


def _positive(sigma: float) -> float:
    return real(sigma, "Firing noise", "sigma", 0, _MOST, above=True)
