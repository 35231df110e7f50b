"""Bounds of a neuron's spikes: they hold what the reference fires for any current within."""

import pytest
import torch

from spikeproof.certify.interval import Interval, Rounding
from spikeproof.certify.recurrence import spikes_within
from spikeproof.spiking import Neuron
from spikeproof.spiking.ops.reference import fire

FLOAT32 = Rounding.of(torch.float32, torch.device("cpu"))
STEPS, MANY = 6, 400


def currents(spread, *, constant=False, seed=0):
    torch.manual_seed(seed)
    middle = 1.2 * torch.randn(1 if constant else STEPS, 1, MANY) + 0.4
    return Interval(middle.double() - spread, middle.double() + spread)


def fired(given, neuron, share, **learned):
    """The spikes of currents that lie at this share of their interval, in float32."""
    drawn = (given.low + share * (given.high - given.low)).float()
    drawn = torch.minimum(torch.maximum(drawn, given.low.float()), given.high.float())
    return fire(drawn.expand(STEPS, *drawn.shape[1:]), neuron, surrogate=neuron.surrogate, **learned).spikes


@pytest.mark.sweep
@pytest.mark.parametrize("constant", [False, True], ids=["by step", "constant"])
@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_no_current_within_its_bounds_fires_otherwise(reset, decay, constant):
    neuron = Neuron(decay=decay, threshold=0.7, reset=reset)
    for spread in (1e-3, 0.03, 0.3):
        given = currents(spread, constant=constant)
        given = Interval(given.low.float().double(), given.high.float().double())  # what float32 can hold
        within = spikes_within(given, neuron, STEPS, FLOAT32)
        undecided = (within.low != within.high).double().mean()
        assert undecided < 1 and (undecided > 0 or spread < 0.1)
        seen = []
        for _ in range(60):
            share = torch.rand(given.low.shape, dtype=torch.float64)
            for drawn in (share, share.round()):  # anywhere, and at the corners
                spikes = fired(given, neuron, drawn).double()
                assert (spikes >= within.low).all() and (spikes <= within.high).all()
                seen.append(spikes)
        both = torch.stack(seen).amin(0) != torch.stack(seen).amax(0)
        first = both[0].double().mean(), (within.low != within.high)[0].double().mean()
        assert first[0] >= 0.8 * first[1]  # at the first step bounds are exact, but for what was not drawn


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_learned_decays_and_gains_of_any_sign(reset):
    torch.manual_seed(1)
    neuron, given = Neuron(reset=reset), currents(0.05)
    learned = {"decay": torch.rand(STEPS, 1, MANY), "gain": 2 * torch.randn(STEPS, 1, MANY)}
    within = spikes_within(given, neuron, STEPS, FLOAT32, **learned)
    assert 0.3 < (within.low == within.high).double().mean() < 1
    for _ in range(100):
        spikes = fired(given, neuron, torch.rand(given.low.shape, dtype=torch.float64).round(), **learned).double()
        assert (spikes >= within.low).all() and (spikes <= within.high).all()


def test_a_current_without_doubt_gives_the_spikes_themselves():
    for reset in ("hard", "soft"):
        neuron = Neuron(decay=0.5, reset=reset)
        given = currents(0.0)
        within = spikes_within(given, neuron, STEPS, FLOAT32)
        assert torch.equal(within.low, within.high)  # no potential of these lies within rounding of the threshold
        assert torch.equal(within.low, fired(given, neuron, 0.5).double())


def test_a_bound_that_is_no_number_decides_nothing():
    given = Interval(*(torch.full((1, 1, 1), value, dtype=torch.float64) for value in (torch.nan, torch.nan)))
    within = spikes_within(given, Neuron(), 2, FLOAT32)
    assert within.low.flatten().tolist() == [0, 0] and within.high.flatten().tolist() == [1, 1]


def test_a_potential_that_float32_rounds_up_to_the_threshold_may_fire():
    """0.7 + 0.2 + 0.1 of float32 numbers is below 1 as it is, and 1 in float32."""
    parts = [torch.tensor(each, dtype=torch.float32) for each in (0.7, 0.2, 0.1)]
    exact = sum(part.double() for part in parts)
    assert exact < 1 <= parts[0] + parts[1] + parts[2]
    steps = torch.stack(parts).view(3, 1, 1)
    within = spikes_within(Interval(steps.double(), steps.double()), Neuron(), 3, FLOAT32)
    assert within.low.flatten().tolist() == [0, 0, 0] and within.high.flatten().tolist() == [0, 0, 1]
    assert fire(steps, Neuron(), surrogate=Neuron().surrogate).spikes.flatten().tolist() == [0, 0, 1]
