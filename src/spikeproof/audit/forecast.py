"""How far from the end: accuracy against queries, what the last doubling broke, and what ten times as many would."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from spikeproof.audit.diagnostics import Flag

# Of a forecast: how many times the queries, and the share of the samples from where on it is worth a flag.
TIMES = 10
_STEEP = 0.03
_BOUNDS = torch.tensor((0.025, 0.975))
_DRAWS, _POINTS = 4000, 11
# Of (a, b, c, log d) before anything was seen: the last two as searches on validation images had them, and wider.
_PRIOR_MEAN = torch.tensor((0.0, 4.0, 5.7, 0.4), dtype=torch.float64)
_PRIOR_STD = torch.tensor((3.0, 3.0, 1.0, 0.3), dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a search by queries broke as it went on, and what it would break if it went on.

    Attributes:
        trial: its name; queries: what it may spend on each sample.
        samples: of the audit, clean errors included.
        curve: pairs of queries and how many samples are still right after them; the first is of none.
        last_doubling: how many samples the second half of the queries broke.
        low, expected, high: how many of those left ``times`` the queries would break, with its 95 % interval.
    """

    trial: str
    queries: int
    samples: int
    curve: tuple[tuple[int, int], ...]
    last_doubling: int
    low: int
    expected: float
    high: int
    times: int = TIMES

    @property
    def numbers(self) -> tuple[str, ...]:
        """What the last doubling of the queries broke, and what ten times as many would, with its interval: in percent.

        Example:
            >>> Forecast("LOCAL-9600", 9600, 200, ((0, 50), (9600, 32)), 1, 0, 1.2, 4).numbers
            ('0.5', '0.6', '0.0', '2.0')
        """
        counts = (self.last_doubling, self.expected, self.low, self.high)
        return tuple(f"{100 * count / self.samples:.1f}" for count in counts)


def forecast(
    trial: str,
    queries: int,
    spent: Int64[Tensor, " m"],
    broken: Bool[Tensor, " m"],
    margins: Float[Tensor, " m"],
    left: int,
    samples: int,
) -> Forecast:
    """What follows from how many queries each sample took, and from the margin at which its search began.

    A sample of margin m falls at all with the chance sigmoid(a - b (m / mean(m) - 1)). The queries Q that it takes to
    break one that falls are log-logistic distributed, log Q = c + d e with e logistic. A sample that did not break has
    told that it does not fall, or that its Q is above what was spent on it, whether it was chased to the end or given
    up. The posterior of (a, b, c, log d) is on a grid. The forecast is of how many of all that are left would break
    within ten times the queries.

    Args:
        spent: how many queries each attacked sample took to break, or was given.
        broken: whether it broke.
        margins: z_y - max_{j != y} z_j of the images at which the search began.
        left: how many samples are right after the search; samples: of the audit.

    Source: a mixture cure model (Farewell 1982). That margins tell who may still fall is ours; docs/log.md has the
    measurements, and checks against ten times the queries.
    """
    spent, broken, margins = (each.cpu().double() for each in (spent, broken, margins))
    broken = broken > 0
    took = spent[broken].sort().values
    right = left + len(took)
    curve = [(0, right)]
    for fallen, query in enumerate(took.long().clamp(max=queries).tolist(), 1):
        if curve[-1][0] == query:
            curve.pop()
        curve.append((query, right - fallen))
    if curve[-1][0] < queries:
        curve.append((queries, left))
    low, expected, high = (0, 0.0, 0) if broken.all() else _further(spent, broken, margins, queries)
    last = int((took > queries / 2).sum())
    return Forecast(trial, queries, samples, tuple(curve), last, low, expected, high)


def _further(
    spent: Float[Tensor, " m"], broken: Bool[Tensor, " m"], margins: Float[Tensor, " m"], queries: int
) -> tuple[int, float, int]:
    """Of the samples that did not break, how many will: lower bound, expectation, upper bound."""
    time, share = spent.clamp_min(1).log(), margins.clamp_min(0) / margins.clamp_min(0).mean().clamp_min(1e-12)
    points, weight = _posterior(time, broken, share)
    generator = torch.Generator().manual_seed(0)
    drawn = points[torch.multinomial(weight, _DRAWS, replacement=True, generator=generator)]
    base, slope, middle, spread = drawn.T[:, :, None]
    falls = torch.sigmoid(base - slope * (share[~broken] - 1))
    end = math.log(TIMES * queries)
    now, then = (torch.sigmoid((middle - at) * (-spread).exp()) for at in (time[~broken], end))
    chance = falls * (now - then) / (1 - falls + falls * now)
    count = torch.bernoulli(chance, generator=generator).sum(1)
    low, high = (int(bound) for bound in count.quantile(_BOUNDS.to(count), interpolation="nearest"))
    return low, float(chance.sum(1).mean()), high


def _posterior(
    time: Float[Tensor, " m"], broken: Bool[Tensor, " m"], share: Float[Tensor, " m"]
) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"]]:
    """Points (a, b, c, log d) and their weights: a coarse grid, then finer ones where the one before has its mass."""
    centre, reach = _PRIOR_MEAN, 3 * _PRIOR_STD
    for _ in range(3):
        steps = torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
        points = torch.cartesian_prod(*(at + far * steps for at, far in zip(centre, reach, strict=True)))
        base, slope, middle, spread = points.T[:, :, None]
        density = -0.5 * (((points - _PRIOR_MEAN) / _PRIOR_STD) ** 2).sum(1)
        for of in torch.arange(len(time)).split(100):
            falls = base - slope * (share[of] - 1)
            at = (time[of] - middle) * (-spread).exp()
            later = -softplus(at)
            breaks = logsigmoid(falls) + at + 2 * later - spread
            stays = torch.logaddexp(logsigmoid(-falls), logsigmoid(falls) + later)
            density += torch.where(broken[of], breaks, stays).sum(1)
        weight = density.softmax(0)
        centre = weight @ points
        reach = 3 * (weight @ (points - centre) ** 2).sqrt().clamp_min(1e-3)
    return points, weight


def falling(search: Forecast) -> Flag:
    """The check of whether accuracy still falls steeply with the queries."""
    share, limit = search.expected / search.samples, max(_STEEP, 1.5 / search.samples)
    return Flag(
        "accuracy still falls with queries",
        "the last doubling of its queries broke {} points; ten times as many would break {} more ({} to {})",
        "when ten times as many would break over {}",
        (*search.numbers, f"{100 * limit:.1f}"),
        share > limit,
        f"the search was stopped too early: give {search.trial} more queries, as the battery thorough does",
    )
