"""Accuracy against queries: what the last doubling of the queries broke, and what ten times as many would break."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from spikeproof.audit.diagnostics import Flag

# How many times the queries a forecast is for, and from which share of the samples on it raises a flag.
TIMES = 10
_STEEP = 0.03
_BOUNDS = torch.tensor((0.025, 0.975))
_DRAWS, _POINTS = 4000, 11
# The prior of (a, b, c, log d): the last two as searches on validation images had them, but wider.
_PRIOR_MEAN = torch.tensor((0.0, 4.0, 5.7, 0.4), dtype=torch.float64)
_PRIOR_STD = torch.tensor((3.0, 3.0, 1.0, 0.3), dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a search by queries broke with each query, and what it would break with more.

    Attributes:
        trial: its name; queries: how many it may spend on each sample.
        samples: of the audit, those that are wrong when clean included.
        curve: pairs of queries and how many samples are still right after them; the first pair is of no query.
        last_doubling: how many samples the second half of the queries broke.
        low, expected, high: how many of the samples left ``times`` as many queries would break: the mean, between the
            bounds of its 95 % interval.
        times: how many times the queries the forecast is for.
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
    """Forecast what ten times the queries would break, from the queries that each sample took and its first margin.

    A sample of margin m can be broken at all with the chance sigmoid(a - b (m / mean(m) - 1)). The queries Q that it
    then takes are log-logistic distributed: log Q = c + d e, with e logistic. A sample that did not break either cannot
    be broken or has a Q above what was spent on it, whether its search ended or was given up. The posterior of
    (a, b, c, log d) is computed on a grid.

    Args:
        trial: the name of the search.
        queries: how many it may spend on a sample.
        spent: how many queries each attacked sample took to break, or was given.
        broken: whether it broke.
        margins: z_y - max_{j != y} z_j of the images at which the search began.
        left: how many samples are right after the search.
        samples: how many the audit has.

    Source: a mixture cure model (Farewell 1982). That margins say which samples can still be broken is ours;
    docs/log.md has the measurements, and checks against ten times the queries.
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
    """The check of whether accuracy still falls steeply with the queries.

    Args:
        search: of the last trial that counts its queries.
    """
    share, limit = search.expected / search.samples, max(_STEEP, 1.5 / search.samples)
    return Flag(
        "accuracy still falls with queries",
        "the last doubling of its queries broke {} points; ten times as many would break {} more ({} to {})",
        "when ten times as many would break over {}",
        (*search.numbers, f"{100 * limit:.1f}"),
        share > limit,
        f"the search was stopped too early: give {search.trial} more queries, as the battery thorough does",
    )
