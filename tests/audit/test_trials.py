"""Trials: what their texts say, what kind they are, and what they refuse."""

import dataclasses

import pytest
import torch

from spikeproof import attacks
from spikeproof.attacks import Crafting
from spikeproof.audit import NINETEEN_SOURCES, Tuned, make_trial
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Mixed, ReluTransfer
from spikeproof.spiking import Exponential, Rectangular, Sigmoid, StraightThrough, Triangle
from spikeproof.threat import L2, Linf

DEFAULTS = {
    "FGSM": None,
    "FFGSM": None,
    "R+FGSM": None,
    "MI-FGSM": 10,
    "RFGSM": 10,
    "BIM": 20,
    "PGD": 20,
    "PGD-ANY": 100,
    "TPGD": 10,
    "SA-PGD": 100,
    "SA-PGD-MARGIN": 100,
    "APGD-CE": 100,
    "APGD-DLR": 100,
    "APGD-T": 100,
    "FAB-T": 100,
    "MTPGD": 20,
    "SQUARE": 5000,
    "SPSA": 20,
    "CW": 10,
    "CW-FEEL": 10,
    "GAUSSIAN": None,
    "GAUSSIAN-NOISE": 3,
    "GAUSSIAN-BLUR": 3,
    "CONTRAST": 3,
    "BRIGHTNESS": 3,
    "UNIFORM": None,
}
NUMBERED = [name for name, number in DEFAULTS.items() if number not in (None, 3)]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_bare_attack_has_its_default_number_in_its_name(name):
    trial, number = make_trial(name), DEFAULTS[name]
    assert trial.name == (name if number is None else f"{name}-{number}")
    assert (trial.attack_name, trial.number, trial.source) == (name, number, BPTT())


@pytest.mark.parametrize("name", NUMBERED)
@pytest.mark.parametrize("source", ["", "@ASSG:0.45", "@BPTT:exp(0.3,1)"])
def test_a_number_is_read_and_the_name_says_it_all(name, source):
    trial = make_trial(f"{name}-13{source}")
    assert (trial.name, trial.attack_name, trial.number) == (f"{name}-13{source}", name, 13)
    again = make_trial(trial.name)
    assert (again.name, again.kind, again.source, again.cost) == (trial.name, trial.kind, trial.source, trial.cost)


@pytest.mark.parametrize("name", NUMBERED)
def test_more_steps_cost_more(name):
    assert make_trial(f"{name}-40").cost == pytest.approx(4 * make_trial(f"{name}-10").cost)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("BPTT", BPTT()),
        ("BPTT:sigmoid(4)", BPTT(Sigmoid(4.0))),
        ("BPTT:triangle(0.25)", BPTT(Triangle(0.25))),
        ("BPTT:rectangular", BPTT(Rectangular())),
        ("BPTT:exp(0.3,1)", BPTT(Exponential(0.3, 1.0))),
        ("STE", BPTT(StraightThrough())),
        ("BPTR", BPTR()),
        ("RGA", RGA()),
        ("HART", HART(width=1.5)),
        ("HART:0.5", HART(width=0.5)),
        ("PDSG", PDSG()),
        ("ASSG", ASSG(half_mass=0.41)),
        ("ASSG:0.45", ASSG(half_mass=0.45)),
        ("RELU", ReluTransfer()),
        ("MIXED", Mixed((BPTT(), HART(width=1.5)))),
    ],
)
def test_sources_and_their_values(text, source):
    trial = make_trial(f"APGD-CE-10@{text}", Tuned(half_mass=0.41, hart_width=1.5))
    assert trial.source == source
    # The model's own surrogate goes without saying; any other is in the name, so that no two trials share one.
    assert trial.name == ("APGD-CE-10" if text == "BPTT" else f"APGD-CE-10@{text}")


def test_without_tuning_sources_have_their_own_defaults():
    assert make_trial("PGD@ASSG").source == ASSG()
    assert make_trial("PGD@HART").source == HART()


def test_nineteen_different_sources():
    trials = [make_trial(f"PGD-ANY-20@{source}") for source in NINETEEN_SOURCES]
    assert len({trial.name for trial in trials}) == len({trial.source for trial in trials}) == 19
    windows = {type(trial.source.surrogate).__name__ for trial in trials if isinstance(trial.source, BPTT)}
    assert windows == {"Triangle", "Exponential", "Rectangular", "StraightThrough"}


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            "protocol",
            ["FGSM", "FFGSM", "R+FGSM", "MI-FGSM", "RFGSM", "BIM-7", "PGD-7", "CW-10", "CW-FEEL", "PGD-7@RGA"],
        ),
        ("fixed", ["PGD-ANY", "TPGD", "APGD-CE", "APGD-T", "FAB-T", "MTPGD", "SA-PGD", "APGD-DLR@RGA", "PGD-ANY@STE"]),
        ("fixed", ["APGD-CE@BPTT:sigmoid(4)", "APGD-CE@BPTR", "APGD-CE@RELU"]),
        ("adaptive", ["SA-PGD@ASSG", "SA-PGD-MARGIN@ASSG", "APGD-CE@HART", "APGD-DLR@PDSG", "FAB-T@MIXED"]),
        ("adaptive", ["APGD-CE@HART:0.5", "APGD-T@ASSG:0.41"]),
        ("black-box", ["SQUARE-100", "SPSA"]),
        ("noise", ["UNIFORM", "GAUSSIAN", "GAUSSIAN-NOISE-1", "GAUSSIAN-BLUR", "CONTRAST-5", "BRIGHTNESS"]),
    ],
)
def test_kinds(kind, texts):
    assert {text: make_trial(text).kind for text in texts} == dict.fromkeys(texts, kind)


def test_only_the_own_surrogate_can_be_the_headline():
    order = ["FGSM", "FFGSM", "R+FGSM", "MI-FGSM-100", "RFGSM-100", "BIM-100", "PGD-7", "PGD-20", "PGD-100"]
    ranks = [make_trial(text).rank for text in order]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    for text in (
        "PGD-20@RGA",
        "FGSM@BPTT:sigmoid(4)",
        "CW-10",
        "CW-FEEL",
        "SQUARE-10",
        "SA-PGD",
        "PGD-ANY-20",
        "UNIFORM",
    ):
        assert make_trial(text).rank is None


def test_cw_is_judged_at_any_distance():
    assert make_trial("CW-10").threat(0.1, 64) == L2(8.0)  # black to white, 64 values
    assert {name for name in DEFAULTS if make_trial(name).norm == "l2"} == {"CW", "CW-FEEL"}
    assert make_trial("PGD-10").threat(0.1, 64) == Linf(0.1)


def test_what_leaves_the_ball_is_no_part_of_the_worst_case():
    outside = {name for name in DEFAULTS if not make_trial(name).bounded}
    assert outside == {"CW", "CW-FEEL", "GAUSSIAN", "GAUSSIAN-NOISE", "GAUSSIAN-BLUR", "CONTRAST", "BRIGHTNESS"}


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_corruptions_number_is_its_severity(severity):
    trial, mildest = make_trial(f"CONTRAST-{severity}"), make_trial("CONTRAST-1")
    assert (trial.name, trial.number, trial.cost) == (f"CONTRAST-{severity}", severity, mildest.cost)


@pytest.mark.parametrize("attack", ["PGD", "BIM"])
@pytest.mark.parametrize(("steps", "size"), [(7, 2.55 / 255), (10, 2.5 * 8 / 255 / 10), (20, 2.5 * 8 / 255 / 20)])
def test_the_papers_step_at_seven_and_ours_elsewhere(model, digits, attack, steps, size):
    images, labels = digits.test.images[:5].float() / 255, digits.test.labels[:5]
    for eps in (8 / 255, 4 / 255):  # at another radius the step shrinks with it
        found = make_trial(f"{attack}-{steps}").attack(model, images, labels, Linf(eps), Crafting(seed=4))
        settings = {"steps": steps, "step_size": size * eps / (8 / 255), "keep": "last"}
        by_hand = getattr(attacks, attack.lower())(model, images, labels, Linf(eps), Crafting(seed=4), **settings)
        assert torch.equal(found.images, by_hand.images)


def test_the_protocol_pgd_keeps_its_last_image(model, digits):
    images, labels = digits.test.images[:20].float() / 255, digits.test.labels[:20]
    by_text = make_trial("PGD-20").attack(model, images, labels, Linf(0.1), Crafting())
    best = attacks.pgd(model, images, labels, Linf(0.1), Crafting(), steps=20, keep="best")
    any_step = make_trial("PGD-ANY-20").attack(model, images, labels, Linf(0.1), Crafting())
    assert torch.equal(any_step.images, best.images)
    assert not torch.equal(by_text.images, best.images)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["''", "FGSM"]),
        ("PGF-20", ["'PGF-20'", "PGD"]),
        ("pgd-20", ["'pgd-20'"]),
        ("PGD20", ["'PGD20'"]),
        ("PGD--20", ["'PGD--20'"]),
        ("PGD-20-", ["'PGD-20-'"]),
        ("PGD-2.5", ["'PGD-2.5'"]),
        ("CONTRAST-6", ["'CONTRAST-6'", "5"]),
        (" PGD", ["' PGD'"]),
        ("PGD-0", ["'PGD-0'", "number >= 1"]),
        ("FGSM-3", ["'FGSM-3'", "no number"]),
        ("UNIFORM-0", ["no number"]),
        ("PGD-20@", ["'PGD-20@'"]),
        ("PGD-20@ABC", ["'ABC'", "BPTT", "HART"]),
        ("PGD-20@assg", ["'assg'", "ASSG"]),
        ("@ASSG", ["'@ASSG'"]),
        ("PGD-20@ASSG@HART", ["'ASSG@HART'"]),
        ("PGD-20@RGA:2", ["'RGA:2'", "RGA", "no value"]),
        ("PGD-20@MIXED:2", ["no value"]),
        ("PGD-20@ASSG:", ["'ASSG:'"]),
        ("PGD-20@ASSG:high", ["'ASSG:high'"]),
        ("PGD-20@ASSG:0.5", ["'ASSG:0.5'", "between 0 and 0.5"]),
        ("PGD-20@ASSG:nan", ["'ASSG:nan'"]),
        ("PGD-20@HART:0", ["'HART:0'", "> 0"]),
        ("PGD-20@HART:inf", ["'HART:inf'"]),
        ("PGD-20@BPTT:", ["'BPTT:'"]),
        ("PGD-20@BPTT:step", ["step", "triangle"]),
        ("PGD-20@BPTT:sigmoid(-4)", ["sigmoid(-4)", "alpha"]),
        ("PGD-20@BPTT:exp(1)", ["exp(1)"]),
        ("PGD-20@BPTT:exp(a,b)", ["exp(a,b)"]),
        ("PGD-20@BPTT:exp(-1,1)", ["exp(-1,1)", "scale"]),
        ("PGD\n-20", ["PGD"]),
    ],
)
def test_texts_that_are_no_trial(refuses, text, says):
    with refuses(*says):
        make_trial(text)


def test_a_trial_is_frozen_data():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_trial("PGD-20").name = "other"
