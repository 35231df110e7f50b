"""Images go on from trial to trial: what continues begins at the image of least margin that any before it found."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from spikeproof.attacks import ATTACKS, Attacked, Form, attack, judge, margin_of
from spikeproof.audit import Trial, audit, make_trial
from spikeproof.audit.audit import BEYOND

RADIUS = 0.05


@pytest.fixture
def config(quick):
    return quick(eps=RADIUS, samples=60, batch_size=25)


@pytest.fixture
def begun(monkeypatch):
    """Every start that a trial was handed, with its images."""
    seen, made = [], Trial.attack.fget

    def watched(trial):
        run = made(trial)

        def attack(model, images, labels, threat, how, **start):
            if start:
                seen.append(SimpleNamespace(images=images, labels=labels, **start))
            return run(model, images, labels, threat, how, **start)

        return attack

    monkeypatch.setattr(Trial, "attack", property(watched))
    return seen


def margins(model, images, labels):
    return -margin_of(labels)(judge(model, images))


def test_a_trial_that_goes_on_begins_at_the_best_image(learned, digits, config, begun):
    asked = ("FGSM", "PGD-3", "SA-PGD-5@ASSG", "APGD-ON-2@ASSG")
    audit(learned, digits.test, dataclasses.replace(config, trials=asked), show=False)
    assert len(begun) == 3 and sum(len(each.images) for each in begun) > 10
    for each in begun:
        assert (each.start - each.images).abs().max() <= RADIUS + 1e-6
        handed, clean = (margins(learned, them, each.labels) for them in (each.start, each.images))
        assert (handed > 0).all()  # it got what is left only
        assert (handed <= clean).all() and (handed < clean).float().mean() > 0.9


@pytest.mark.thorough
def test_no_later_trial_makes_a_start_worse(learned, digits, config, begun):
    asked = ("SA-PGD-20@ASSG", "APGD-ON-2@ASSG", "UNIFORM", "FGSM", "APGD-ON-3@ASSG")
    audit(learned, digits.test, dataclasses.replace(config, trials=asked), show=False)
    first, later = begun[0::2], begun[1::2]
    for one, other in zip(first, later, strict=True):
        same = torch.tensor(
            [int((one.images == image).flatten(1).all(1).nonzero()[0]) for image in other.images], dtype=torch.int64
        )
        before = margins(learned, one.start[same], other.labels)
        assert (margins(learned, other.start, other.labels) <= before + 1e-5).all()


@pytest.mark.thorough
def test_going_on_breaks_more_than_beginning_anew(learned, digits, config):
    def worst(*asked):
        return audit(learned, digits.test, dataclasses.replace(config, trials=asked), show=False).worst_case.correct

    first = worst("PGD-20", "SA-PGD-20@ASSG")
    assert worst("PGD-20", "SA-PGD-20@ASSG", "LOCAL-150") < first
    assert worst("PGD-20", "SA-PGD-20@ASSG", "LOCAL-150") <= worst("PGD-20", "SA-PGD-20@ASSG", "SQUARE-150")


def test_an_image_outside_the_ball_is_not_handed_on(learned, digits, config, begun):
    audit(learned, digits.test, dataclasses.replace(config, trials=("PGD-2", "CW-5", "APGD-ON-2")), show=False)
    assert all((each.start - each.images).abs().max() <= RADIUS + 1e-6 for each in begun)


def test_a_transferred_trial_begins_at_the_images():
    assert make_trial("LOCAL-20").continues
    assert not make_trial("LOCAL-20").crafted_on([torch.nn.Identity()]).continues


def test_what_an_attack_keeps_is_handed_on_where_its_images_are_others(learned, digits, config, begun, monkeypatch):
    @attack("Odd")
    def odd(model, images, labels, threat, how):
        return Attacked(
            images, judge(model, images).argmax(1) == labels, nearest=(images + 0.5 * threat.eps).clamp(max=1)
        )

    monkeypatch.setitem(ATTACKS, "ODD", Form(name="ODD", attack=odd, kind="protocol"))
    audit(learned, digits.test, dataclasses.replace(config, trials=("FGSM", "ODD", "LOCAL-1")), show=False)
    expected = [(each.images + 0.5 * RADIUS).clamp(max=1) for each in begun]
    same = [
        torch.isclose(each.start, half, atol=1e-6).flatten(1).all(1) for each, half in zip(begun, expected, strict=True)
    ]
    assert torch.cat(same).any()  # where it is nearer than FGSM's


def test_whatever_breaks_counts(learned, digits, config):
    """One step leaves what the curves' and checks' stronger attacks break: these breaks are in the worst case."""
    asked = dataclasses.replace(config, trials=("FGSM",), sweep=(0.03, 0.2), sweep_samples=40, diagnostics=True)
    found = audit(learned, digits.test, asked, show=False)
    *battery, beyond = found.results
    assert [result.trial.name for result in battery] == ["FGSM"] and beyond.trial.name == BEYOND
    assert beyond.attempted > beyond.newly == beyond.broken > 0
    assert found.worst_case.correct == beyond.left.correct == battery[-1].left.correct - beyond.newly
    rows = [row for row in found.outcomes.to_pylist() if row["trial"] == BEYOND]
    assert len(rows) == beyond.attempted and sum(not row["correct"] for row in rows) == beyond.newly


def test_what_lies_outside_the_ball_does_not_count(learned, digits, config):
    asked = dataclasses.replace(config, trials=("FGSM", "PGD-20"), sweep=(0.2,), sweep_samples=40)
    found = audit(learned, digits.test, asked, show=False)
    assert [result.trial.name for result in found.results] == ["FGSM", "PGD-20", BEYOND]
    assert found.results[-1].newly == 0  # PGD-20 again, at the audit's radius
    assert found.sweep[-1].measured.correct < found.worst_case.correct
