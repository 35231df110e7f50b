"""How far from the end: the curve of accuracy against queries, and the forecast of ten times as many."""

import numpy as np
import pytest
import torch

from spikeproof.audit import audit
from spikeproof.audit.forecast import falling, forecast


def test_the_curve_of_a_search():
    spent = torch.tensor([40, 900, 250, 40, 1000, 1000])
    broken = torch.tensor([True, True, False, True, False, True])
    found = forecast("LOCAL-1000", 1000, spent, broken, torch.rand(6), left=20, samples=50)
    assert found.curve == ((0, 24), (40, 22), (900, 21), (1000, 20))
    assert found.last_doubling == 2
    assert 0 <= found.low <= found.expected <= found.high <= 2


def test_nothing_is_forecast_where_nothing_is_left():
    found = forecast("LOCAL-1000", 1000, torch.tensor([3, 250]), torch.tensor([True, True]), torch.ones(2), 0, 2)
    assert (found.low, found.expected, found.high) == (0, 0.0, 0) and not falling(found).raised
    none = torch.zeros(0, dtype=torch.long)
    assert forecast("x", 10, none, none.bool(), none.float(), 0, 2).high == 0


@pytest.mark.thorough
@pytest.mark.parametrize(("base", "slope", "middle"), [(-1.5, 7.0, 6.0), (-5.0, 8.0, 5.0), (0.0, 2.0, 7.0)])
def test_the_interval_holds_what_comes(base, slope, middle):
    """Samples of known chances, searched to 9,600 queries, some of them given up, and then to ten times as many."""
    random, held = np.random.default_rng(0), 0
    for _ in range(60):
        margins = random.gamma(2.0, 1.5, 60)
        falls = random.random(60) < 1 / (1 + np.exp(-base + slope * (margins / margins.mean() - 1)))
        took = np.where(falls, np.exp(middle + 1.3 * random.logistic(size=60)), np.inf)
        spent = np.where(random.random(60) < margins / 10, 250, 9600)
        broken = took <= spent
        queries = torch.from_numpy(np.ceil(np.minimum(took, spent))).long()
        given = queries, torch.from_numpy(broken), torch.from_numpy(margins)
        found = forecast("x", 9600, *given, int((~broken).sum()), 60)
        held += found.low <= (~broken & (took <= 96_000)).sum() <= found.high
    assert held >= 53  # of 57 by its own word; fewer than 53 have a chance of 1 in 50


def test_a_search_that_was_stopped_early_is_flagged():
    margins = torch.linspace(0.1, 3.0, 60)
    early = torch.tensor([20, 50, 80, 90, 95, 99, 40, 70] + 52 * [100])
    late = torch.tensor([20, 50, 80, 90, 95, 99, 40, 70] + 52 * [9600])
    first, then = (
        forecast("LOCAL", int(spent.max()), spent, torch.arange(60) < 8, margins, 52, 100) for spent in (early, late)
    )
    assert falling(first).raised and not falling(then).raised


def test_margins_tell_who_may_still_fall():
    spent, broken = torch.tensor([20, 50, 80, 90] + 30 * [1000]), torch.arange(34) < 4
    near, far = (
        forecast("LOCAL", 1000, spent, broken, torch.cat([torch.full((4,), 1.0), torch.full((30,), other)]), 30, 50)
        for other in (1.0, 5.0)
    )
    assert far.expected < near.expected / 3


@pytest.mark.thorough
def test_an_audit_says_how_far_it_is(learned, digits, quick):
    config = quick(trials=("PGD-5", "LOCAL-300"), diagnostics=True)
    found = audit(learned, digits.test, config, show=False)
    row = next(each for each in found.results if each.trial.attack_name == "LOCAL")
    search = found.search
    assert search.curve[-1] == (300, row.left.correct) and search.curve[0] == (0, row.left.correct + row.newly)
    assert search.samples == found.worst_case.samples
    assert any(flag.name == falling(search).name for flag in found.flags)
    assert audit(learned, digits.test, quick(trials=("PGD-5",)), show=False).search is None
