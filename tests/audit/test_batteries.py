"""Batteries: every one can be run, and every trial in them breaks or keeps what it may."""

import re
from collections import Counter

import pytest
import torch

from spikeproof.attacks import Crafting
from spikeproof.audit import BATTERIES, AuditConfig, audit, make_trial
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Mixed, ReluTransfer

EVERY_TRIAL = sorted({text for battery in BATTERIES.values() for text in battery.trials})


@pytest.mark.parametrize("name", BATTERIES)
def test_a_battery_is_in_order_and_has_a_headline(name):
    members = AuditConfig(battery=name).members()
    assert Counter(trial.name for trial in members) == Counter(BATTERIES[name].trials)
    kinds = [trial.kind == "protocol" for trial in members]
    assert kinds == sorted(kinds, reverse=True)  # the protocol ones attack everyone, so they come first
    ranked = [trial for trial in members if trial.rank is not None]
    assert max(ranked, key=lambda trial: trial.rank).attack_name == "PGD"


def test_the_papers_tables_have_an_accuracy_in_every_cell():
    per_member = {name for name in BATTERIES if AuditConfig(battery=name).every_member_attacks_all}
    assert per_member == {"paper-mpd-sgr", "paper-tgo", "beyond-linf"}
    assert AuditConfig(battery="quick", per_member=True).every_member_attacks_all
    assert not AuditConfig(battery="paper-tgo", per_member=False).every_member_attacks_all
    assert not AuditConfig(battery=None, trials=("PGD-2",)).every_member_attacks_all


def test_the_reliable_battery_has_the_papers_protocol_and_attacks_that_adapt():
    members = AuditConfig(battery="reliable").members()
    assert {trial.kind for trial in members} == {"protocol", "adaptive", "black-box"}
    assert {type(trial.source) for trial in members} == {BPTT, ASSG}
    assert members[-1].continues  # the search begins where the gradients end


def test_everything_is_everything():
    """Each attack and each source of the catalogue that fits an Linf worst case."""
    members = AuditConfig(battery="everything").members()
    assert {trial.attack_name for trial in members} >= {
        *("FGSM", "FFGSM", "R+FGSM", "MI-FGSM", "RFGSM", "BIM", "PGD", "PGD-ANY", "TPGD", "SA-PGD", "SA-PGD-MARGIN"),
        *("APGD-CE", "APGD-DLR", "APGD-T", "FAB-T", "MTPGD", "SQUARE", "SPSA", "UNIFORM"),
    }
    assert {type(trial.source) for trial in members} == {BPTT, BPTR, RGA, HART, PDSG, ASSG, ReluTransfer, Mixed}


def test_further_trials_join_a_battery_once():
    config = AuditConfig(battery="quick", trials=("PGD-7", "PGD", "SQUARE-10"))
    assert [trial.name for trial in config.members()] == [
        *("FGSM", "PGD-20", "PGD-7", "SA-PGD-20@ASSG", "APGD-CE-20@PDSG", "LOCAL-200", "SQUARE-10")
    ]


def small(text):
    """The same trial with two steps or twenty queries."""
    if text.startswith("SPSA"):
        return re.sub(r"-\d+", "-1", text, count=1)
    number = 20 if text.startswith(("SQUARE", "LOCAL")) else 2
    return re.sub(r"-\d+(?=@|$)", f"-{number}", text, count=1)


@pytest.mark.sweep
@pytest.mark.parametrize("text", EVERY_TRIAL)
def test_every_trial_runs_and_stays_in_its_ball(tiny, digits, text):
    images, labels = digits.test.images[:6].float() / 255, digits.test.labels[:6]
    trial = make_trial(small(text))
    assert trial.attack_name == make_trial(text).attack_name
    assert trial.source == make_trial(text).source
    threat = trial.threat(0.2, 64)
    found = trial.attack(tiny, images, labels, threat, Crafting(source=trial.source, seed=1))
    assert found.images.shape == images.shape
    if trial.norm != "none":  # noise and corruptions of other kinds lie in no ball
        assert float(threat.distance(found.images, images).max()) <= threat.eps + 1e-6
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    # The verdict is the model's own on these very images, and they are not the ones that were given. (CW gives back
    # the ones that were given where it finds nothing.)
    assert torch.equal(found.correct, tiny(found.images).argmax(1) == labels)
    colour = text.startswith("SATURATE")  # of which these images have none
    assert trial.norm == "l2" or colour or not torch.equal(found.images, images)


@pytest.mark.thorough
def test_everything_as_one_audit(tiny, digits):
    """All of "everything" in one go, each with few steps: whole, and no survivor that its own rows deny."""
    trials = tuple(dict.fromkeys(small(text) for text in BATTERIES["everything"].trials))
    config = AuditConfig(battery=None, trials=trials, eps=0.05, samples=12, diagnostics=False, tune_samples=0)
    found = audit(tiny, digits.test, config, show=False)
    assert [result.trial.name for result in found.results] == [trial.name for trial in config.members()]
    assert sum(result.newly for result in found.results) == found.clean.correct - found.worst_case.correct
