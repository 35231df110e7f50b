"""How far from the end: accuracy against queries, what the last doubling broke, and what ten times as many would."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikeproof.audit.diagnostics import Flag

# Of a forecast: how many times the queries, and the share of the samples from where on it is worth a flag.
TIMES = 10
_STEEP = 0.03
_BOUNDS = (0.025, 0.975)
# The grid of the gamma mixture: its shape, and its scale as a share of the queries that were allowed.
_SHAPES = torch.logspace(-2, 1, 61, dtype=torch.float64)
_SCALES = torch.logspace(-3, 2, 101, dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a search by queries broke as it went on, and what it would break if it went on.

    Attributes:
        trial: its name; queries: what it may spend on each sample.
        samples: of the audit, clean errors included.
        curve: pairs of queries and how many samples are still right after them; the first is of none.
        last_doubling: how many samples the second half of the queries broke.
        chased: samples that it still chases at its end; the others are broken or were given up.
        low, expected, high: how many of these ten times the queries would break, with its 95 % interval.
    """

    trial: str
    queries: int
    samples: int
    curve: tuple[tuple[int, int], ...]
    last_doubling: int
    chased: int
    low: int
    expected: float
    high: int

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"times": TIMES}

    @property
    def sentence(self) -> str:
        """What it says, in one sentence.

        Example:
            >>> Forecast("LOCAL-9600", 9600, 200, ((0, 50), (9600, 32)), 1, 9, 0, 1.2, 4).sentence
            'the last doubling of its queries broke 0.5 points; ten times as many would break 0.6 more (0.0 to 2.0)'
        """
        last, low, expected, high = (
            f"{100 * count / self.samples:.1f}" for count in (self.last_doubling, self.low, self.expected, self.high)
        )
        return (
            f"the last doubling of its queries broke {last} points; ten times as many would break {expected} more "
            f"({low} to {high})"
        )


def forecast(
    trial: str, queries: int, spent: Int64[Tensor, " m"], broken: Bool[Tensor, " m"], left: int, samples: int
) -> Forecast:
    """What follows from how many queries each sample took.

    Every sample has a rate of its own at which it breaks, and the rates are gamma distributed: then the queries that
    it takes to break a sample are Lomax distributed, P(Q > q) = (b / (b + q))^a. The posterior of a and b on a grid,
    uniform in their logarithms, is over the samples that broke or are chased to the end; those that were given up are
    left out, for no further query is spent on them. The forecast is of how many of the chased ones break before ten
    times the queries.

    Args:
        spent: how many queries each attacked sample took to break, or was given.
        broken: whether it broke.
        left: how many samples are right after the search; samples: of the audit.

    Source: Lomax (1954); the model is ours, and checked against the battery ``thorough`` in docs/log.md.
    """
    spent, broken = spent.cpu(), broken.cpu()
    took = spent[broken].sort().values
    chased = int(((spent >= queries) & ~broken).sum())
    right = left + len(took)
    curve = [(0, right)]
    for place, query in enumerate(took.tolist(), 1):
        query = min(query, queries)
        if curve[-1][0] == query:
            curve.pop()
        curve.append((query, right - place))
    if curve[-1][0] < queries:
        curve.append((queries, left))
    low, expected, high = _further(took.double() / queries, chased)
    last = int((took > queries / 2).sum())
    return Forecast(trial, queries, samples, tuple(curve), last, chased, low, expected, high)


def _further(took: Float[Tensor, " k"], chased: int) -> tuple[int, float, int]:
    """Of the chased samples, how many break: lower bound, expectation, upper bound. The unit is all queries."""
    if chased == 0:
        return 0, 0.0, 0
    shape, scale = _SHAPES[:, None, None], _SCALES[None, :, None]
    likelihood = chased * shape * (scale.log() - (scale + 1).log())
    for some in took.split(500):
        density = shape.log() + shape * scale.log() - (shape + 1) * (scale + some).log()
        likelihood = likelihood + density.sum(2, keepdim=True)
    weight = likelihood.flatten().softmax(0)
    chance = (1 - ((scale + 1) / (scale + TIMES)) ** shape).flatten()
    number = torch.arange(chased + 1, dtype=torch.float64)[:, None]
    # All counts of all points of the grid would not fit for ten thousand samples.
    mass = torch.cat(
        [
            torch.distributions.Binomial(chased, chance, validate_args=False).log_prob(some).exp() @ weight
            for some in number.split(100)
        ]
    )
    total = mass.cumsum(0)
    low, high = (int((total < bound * total[-1]).sum()) for bound in _BOUNDS)
    return low, float(chased * (chance @ weight)), high


def falling(search: Forecast) -> Flag:
    """The check of whether accuracy still falls steeply with the queries."""
    share, limit = search.expected / search.samples, max(_STEEP, 1.5 / search.samples)
    return Flag(
        "accuracy still falls with queries",
        search.sentence,
        f"when ten times as many would break over {100 * limit:.1f}",
        share > limit,
        f"the search was stopped too early: give {search.trial} more queries, as the battery thorough does",
    )
