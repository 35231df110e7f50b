"""How potentials spread with the steps: Theorem 1 of MPD-SGR, and a simulated neuron beside it."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.checked import check_seed, real, whole
from spikeproof.defenses import overlap
from spikeproof.kinds import check_kinds
from spikeproof.spiking import Neuron, Site, probe

Currents = Literal["independent", "constant"]

_MOST_STEPS, _MOST_NEURONS, _MOST = 1000, 10_000_000, 1e6


@check_kinds
def unreset_moments(
    decay: float, mean: float, std: float, num_steps: int, currents: Currents = "independent"
) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """Mean and standard deviation of u[t] where nothing is ever reset, for t = 1..T::

        E u[t] = mean D(decay, t),   D(a, t) = sum_{i=1..t} a^(t-i)
        sd u[t] = std sqrt(D(decay^2, t))      independent currents: MPD-SGR's Theorem 1, with S(t) = 0
        sd u[t] = std D(decay, t)              constant currents: the same one at every step

    Both are exact for currents of that mean and standard deviation, whatever their shape.

    Args:
        decay: what is kept of the potential from step to step, in [0, 1].
        mean, std: of a step's current, std >= 0.
        num_steps: T.
        currents: "independent" over the steps, or "constant", as direct coding gives them to the first site.

    Returns:
        The means and the standard deviations, float64.

    Raises:
        SpikeproofError: a number that is not in its range.

    Source: MPD-SGR (2026), Theorem 1. It assumes independence without saying so; the second case is ours.

    Example:
        >>> unreset_moments(1.0, 0.0, 1.0, 4)[1], unreset_moments(1.0, 0.0, 1.0, 4, "constant")[1]
        (tensor([1.0000, 1.4142, 1.7321, 2.0000], dtype=torch.float64), tensor([1., 2., 3., 4.], dtype=torch.float64))
    """
    _check(mean, std, num_steps)
    Neuron(decay=decay)  # refuses a decay outside [0, 1]

    def accumulated(factor: float) -> Float[Tensor, " t"]:
        return (factor ** torch.arange(num_steps, dtype=torch.float64)).cumsum(0)

    spread = accumulated(decay) if currents == "constant" else accumulated(decay**2).sqrt()
    return mean * accumulated(decay), std * spread


@dataclasses.dataclass(frozen=True)
class Simulated:
    """Potentials u[t] of many equal neurons, before reset.

    Attributes:
        mean, std: of u, by step.
        window_share: the share of |u - threshold| < window, by step.
        omega: MPD-SGR's Eq. 13 of ``mean`` and ``std``: ``window_share`` if u were normal.
    """

    mean: Float[Tensor, " t"]
    std: Float[Tensor, " t"]
    window_share: Float[Tensor, " t"]
    omega: Float[Tensor, " t"]


@torch.no_grad()
@check_kinds
def simulated_potentials(
    neuron: Neuron,
    mean: float,
    std: float,
    num_steps: int,
    *,
    currents: Currents = "independent",
    resets: bool = True,
    count: int = 100_000,
    seed: int = 0,
) -> Simulated:
    """Drive ``count`` neurons with normal currents through the library's own site, and measure their potentials.

    Args:
        neuron: whose decay, threshold, reset and window count.
        mean, std: of a step's current, std >= 0.
        num_steps: T.
        currents: drawn anew at each step ("independent"), or once for each neuron ("constant").
        resets: False for neurons that never fire; the window still lies around ``neuron.threshold``.
        count: neurons, 2 or more.
        seed: of the currents.

    Raises:
        SpikeproofError: a number that is not in its range.

    Example:
        >>> simulated_potentials(Neuron(), 0.0, 1.0, 8, currents="constant", count=1000).std.shape
        torch.Size([8])
    """
    _check(mean, std, num_steps)
    whole(count, "A simulation", "neurons", 2, _MOST_NEURONS)
    check_seed(seed, "A simulation")
    drawn = torch.randn(
        1 if currents == "constant" else num_steps,
        count,
        1,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    out_of_reach = 1 + num_steps * (abs(mean) + 100 * std)
    threshold = neuron.threshold if resets else out_of_reach
    site = Site(dataclasses.replace(neuron, threshold=threshold), num_steps)
    with probe(site, "margins") as record:
        site((mean + std * drawn).expand(num_steps, -1, -1).flatten(0, 1))
    margins = record[""].margins
    assert margins is not None
    potentials = margins[..., 0] + threshold
    middle, spread = potentials.mean(1), potentials.std(1)
    window = neuron.surrogate.window
    return Simulated(
        mean=middle,
        std=spread,
        window_share=((potentials - neuron.threshold).abs() < window).double().mean(1),
        omega=overlap(middle - neuron.threshold, spread.clamp_min(1e-3), window),
    )


def _check(mean: float, std: float, num_steps: int) -> None:
    whole(num_steps, "A potential", "steps", 1, _MOST_STEPS)
    real(mean, "A current", "a mean", -_MOST, _MOST)
    real(std, "A current", "a standard deviation", 0, _MOST)
