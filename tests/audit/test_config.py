"""What an audit is asked to do, and what it refuses before it starts."""

import dataclasses
import math

import numpy as np
import pytest

from spikeproof.audit import AuditConfig, audit


def test_the_default_is_the_reliable_battery():
    config = AuditConfig()
    assert (config.battery, config.trials, config.eps) == ("reliable", (), 8 / 255)
    assert not config.every_member_attacks_all
    assert config.diagnostics
    assert config.tune_samples == 0  # no gain of tuning outlasted the local search


@pytest.mark.parametrize("name", ["samples", "eot_iter", "judge_draws", "sweep_samples", "batch_size"])
@pytest.mark.parametrize("value", [0, -3])
def test_counts_start_at_one(refuses, quick, name, value):
    with refuses(name, ">= 1", value):
        quick(**{name: value})


@pytest.mark.parametrize("changes", [{"tune_samples": -1}, {"step_sweep": (5, 0)}])
def test_tuning_may_be_left_out_and_steps_start_at_one(refuses, quick, changes):
    with refuses(next(iter(changes)), ">="):
        quick(**changes)


@pytest.mark.parametrize("eps", [-0.1, 1.5, math.nan, math.inf])
def test_radii_lie_in_the_box(refuses, quick, eps):
    with refuses("eps", eps):
        quick(eps=eps)
    with refuses("eps", eps):
        quick(sweep=(0.1, eps))


def test_an_audit_at_radius_zero_says_nothing(refuses, quick):
    with refuses("radius > 0"):
        quick(eps=0)


@pytest.mark.parametrize(
    "trials", [(), ("SA-PGD-5@ASSG",), ("SQUARE-10", "UNIFORM"), ("PGD-20@RGA", "CW-10")], ids=",".join
)
def test_a_battery_has_a_protocol_trial(refuses, quick, trials):
    with refuses("protocol", "PGD-20"):
        quick(trials=trials)


@pytest.mark.parametrize("trial", ["CWW", "PGD-0", "FGSM-3", "PGD-20@X", "PGD-20@HART:0"])
def test_an_unknown_trial_is_refused_at_once(refuses, quick, trial):
    with refuses(trial.split("@")[-1]):
        quick(trials=("PGD-20", trial))


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("battery", "quikc"), ("split", "train")])
def test_an_unknown_word_is_refused(refuses, quick, field, value):
    # The tests' own type checker would speak before the sentence if this were given to the constructor.
    config = quick()
    object.__setattr__(config, field, value)
    with refuses(field, value):
        config.__post_init__()


def test_config_is_frozen_data(quick):
    config = quick(eps="51/255", sweep=("8/255", 0.05))
    assert (config.eps, config.sweep) == (0.2, (8 / 255, 0.05))
    assert dataclasses.replace(config, eps=0.1, sweep=()) == quick()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.eps = 0.3


def test_members_take_what_was_tuned(quick):
    from spikeproof.audit import Tuned
    from spikeproof.gradients import ASSG

    (_, adaptive) = quick(trials=("FGSM", "SA-PGD-2@ASSG")).members(Tuned(half_mass=0.4))
    assert adaptive.source == ASSG(half_mass=0.4)


@pytest.mark.parametrize("number", [8, np.int64(8), np.uint8(8)])
def test_whole_numbers_of_any_library_are_the_same_audit(quick, number):
    """In a name, and in a file of JSON."""
    config = quick()
    names = ("samples", "eot_iter", "judge_draws", "tune_samples", "sweep_samples", "batch_size", "seed")
    for name in names:
        object.__setattr__(config, name, number)
    object.__setattr__(config, "step_sweep", (number,))
    config.__post_init__()
    assert {type(getattr(config, name)) for name in names} == {type(config.step_sweep[0])} == {int}
    assert config == quick(**dict.fromkeys(names, 8), step_sweep=(8,))


def test_places_that_can_be_no_path(tiny, digits, quick, refuses, attacked):
    with refuses("can be no path"):
        audit(tiny, digits.test, quick(), parts="a\x00b", show=False)
    assert not attacked
    found = audit(tiny, digits.test, quick(trials=("FGSM",), samples=5), show=False)
    with refuses("can be no path"):
        found.save("a\x00b")
