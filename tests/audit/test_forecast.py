"""How far from the end: the curve of accuracy against queries, and the forecast of ten times as many."""

import numpy as np
import pytest
import torch

from spikeproof.audit import audit
from spikeproof.audit.forecast import falling, forecast


def test_the_curve_of_a_search():
    spent = torch.tensor([40, 900, 250, 40, 1000, 1000])
    broken = torch.tensor([True, True, False, True, False, True])
    found = forecast("LOCAL-1000", 1000, spent, broken, left=20, samples=50)
    assert found.curve == ((0, 24), (40, 22), (900, 21), (1000, 20))
    assert found.last_doubling == 2 and found.chased == 1
    assert 0 <= found.low <= found.expected <= found.high <= 1


def test_nothing_is_forecast_where_nothing_is_chased():
    spent, broken = torch.tensor([3, 250]), torch.tensor([True, False])
    found = forecast("LOCAL-1000", 1000, spent, broken, left=1, samples=2)
    assert (found.low, found.expected, found.high) == (0, 0.0, 0) and not falling(found).raised


@pytest.mark.parametrize(("shape", "scale"), [(0.3, 0.05), (0.6, 0.5), (2.0, 2.0)])
def test_the_interval_holds_what_comes(shape, scale):
    """Samples with rates of their own, searched to 1,000 queries and then to ten times as many."""
    random, held = np.random.default_rng(0), 0
    for _ in range(100):
        took = random.exponential(1 / random.gamma(shape, 1 / scale, 60)) * 1000
        broken = took <= 1000
        spent = torch.from_numpy(np.ceil(np.minimum(took, 1000))).long()
        found = forecast("x", 1000, spent, torch.from_numpy(broken), int((~broken).sum()), 60)
        held += found.low <= ((took > 1000) & (took <= 10_000)).sum() <= found.high
    assert held >= 90  # of 95 by its own word; fewer than 90 have a chance of 1 in 100


def test_a_search_that_was_stopped_early_is_flagged():
    early = forecast("LOCAL-100", 100, torch.tensor([20, 50, 80, 90] + 30 * [100]), torch.arange(34) < 4, 30, 50)
    late = forecast("LOCAL-9600", 9600, torch.tensor([20, 50, 80, 90] + 2 * [9600]), torch.arange(6) < 4, 30, 50)
    assert falling(early).raised and not falling(late).raised


def test_an_audit_says_how_far_it_is(learned, digits, quick):
    config = quick(trials=("PGD-5", "LOCAL-300"), diagnostics=True)
    found = audit(learned, digits.test, config, show=False)
    row = next(each for each in found.results if each.trial.attack_name == "LOCAL")
    search = found.search
    assert search.curve[-1] == (300, row.left.correct) and search.curve[0] == (0, row.left.correct + row.newly)
    assert search.samples == found.worst_case.samples
    assert any(flag.name == falling(search).name for flag in found.flags)
    assert audit(learned, digits.test, quick(trials=("PGD-5",)), show=False).search is None
