"""An audit takes the threat that it is asked for: what is recorded is what was computed, in every norm."""

import dataclasses

import pytest
import torch

from digit_networks import InDouble
from spikeproof.attacks import judge, pgd
from spikeproof.audit import BATTERIES, AuditConfig, audit
from spikeproof.data import ImageSet
from spikeproof.threat import L2, Linf

RADIUS = 0.8


def audited_images(found, data):
    rows = torch.tensor(sorted({row["sample"] for row in found.outcomes.to_pylist()}))
    return data.take(rows)


def test_an_l2_audit_agrees_with_the_attack_called_alone(model, digits, quick):
    """In float64, where the batch at hand rounds no verdict away."""
    model, data = InDouble(model).eval(), digits.test
    config = quick(norm="l2", eps=RADIUS, trials=("PGD-10",), samples=40)
    found = audit(model, data, config, show=False)
    chosen = audited_images(found, data)
    images, labels = chosen.images.double() / 255, chosen.labels
    alone = pgd(model, images, labels, L2(RADIUS), steps=10).images
    right = (judge(model, images).argmax(1) == labels) & (judge(model, alone).argmax(1) == labels)
    assert found.results[0].left.correct == int(right.sum())
    linf = audit(model, data, quick(eps=RADIUS / 8, trials=("PGD-10",), samples=40), show=False)
    assert found.results[0].left.correct != linf.results[0].left.correct


def test_a_threat_given_to_audit_is_the_one_that_is_recorded_and_kept(model, digits, quick):
    found = audit(model, digits.test, quick(trials=("FGSM", "PGD-3")), threat=L2(0.5), show=False)
    said = found.to_json("")
    assert said["threat"] == {"norm": "l2", "eps": 0.5}
    assert {row["norm"] for row in found.outcomes.to_pylist()} == {"l2"}
    assert {trial["norm"] for trial in said["trials"]} == {"l2"}
    moved = torch.from_numpy(found.pictures["adversarial"]) - torch.from_numpy(found.pictures["clean"]).float() / 255
    assert 0 < moved.flatten(1).norm(dim=1).max() <= 0.5 + 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name, battery in BATTERIES.items() if battery.l2 is not None])
def test_every_battery_for_l2_keeps_to_the_ball(tiny, digits, quick, name):
    battery = tuple(BATTERIES[name].l2)
    config = dataclasses.replace(quick(), norm="l2", eps=0.5, trials=battery[:40], samples=3)
    found = audit(tiny, digits.test, config, show=False)
    rows = [row for row in found.outcomes.to_pylist() if row["kind"] != "clean"]
    assert {row["norm"] for row in rows} == {"l2"} and {row["eps"] for row in rows} == {0.5}


@pytest.mark.parametrize("name", [name for name, battery in BATTERIES.items() if battery.l2 is None])
def test_a_battery_without_such_a_protocol_refuses(tiny, digits, quick, refuses, name):
    with refuses("L2", name):
        dataclasses.replace(quick(), norm="l2", eps=0.5, battery=name)


@pytest.mark.parametrize("trial", ["SA-PGD-20@ASSG", "RFGSM-4", "R+FGSM"])
def test_a_trial_that_cannot_do_the_norm_refuses_before_any_attack(tiny, digits, quick, refuses, attacked, trial):
    with refuses(trial, "no trial of an L2 threat"):
        audit(tiny, digits.test, quick(norm="l2", eps=0.5, trials=("FGSM", trial)), show=False)
    assert not attacked


def test_without_a_radius_each_norm_has_its_usual_one():
    assert AuditConfig().threat == Linf("8/255") and AuditConfig(norm="l2").threat == L2("128/255")


def test_dark_images_and_missing_classes_are_told(tiny, digits, quick):
    images = digits.test.take(torch.arange(40))
    dark = ImageSet(images.images // 5, images.labels, images.class_names)
    found = audit(tiny, dark, quick(trials=("FGSM",), samples=None), show=False)
    assert any("No pixel is above 51 of 255" in warning for warning in found.warnings)
    few = images.labels < 7
    found = audit(
        tiny,
        ImageSet(images.images[few], images.labels[few], images.class_names),
        quick(trials=("FGSM",), samples=None),
        show=False,
    )
    assert any("none of 3 of 10 classes (7, 8, 9)" in warning for warning in found.warnings)
    found = audit(tiny, images, quick(trials=("FGSM",), samples=None), show=False)
    assert not any("No pixel" in warning or "classes (" in warning for warning in found.warnings)
