"""The attacks' settings are chosen on validation images alone, and it is said how."""

import importlib

import pytest
import torch

from spikeproof.attacks import Attacked, Crafting, judge, sa_pgd
from spikeproof.audit import Tuned, audit
from spikeproof.gradients import ASSG, HART, TUNABLES, Mixed
from spikeproof.threat import Linf

HALF_MASSES, HART_WIDTHS = TUNABLES["half_mass"].values, TUNABLES["hart_width"].values
TUNING = importlib.import_module("spikeproof.audit.tuning")


@pytest.fixture
def searched(monkeypatch):
    """Search without attacking: a source leaves the accuracy that ``left`` says of its value, everywhere 1 by default.

    The images and labels that were searched on come back.
    """
    seen = {"left": {}, "images": [], "labels": [], "values": []}

    def attack(model, images, labels, threat, how, *, steps):
        value = how.source.half_mass if isinstance(how.source, ASSG) else how.source.width
        seen["images"].append(images)
        seen["labels"].append(labels)
        seen["values"].append((type(how.source), value, steps))
        correct = torch.arange(len(labels)) < round(seen["left"].get(value, 1.0) * len(labels))
        return Attacked(images, correct)

    monkeypatch.setattr(TUNING, "sa_pgd", attack)
    monkeypatch.setattr(TUNING, "pgd", attack)
    return seen


def test_only_validation_images_are_searched_on(tiny, digits, quick, searched):
    config = quick(tune_samples=20, samples=5, trials=("FGSM", "SA-PGD-2@ASSG", "APGD-CE-4@ASSG", "PGD-ANY-3@HART"))
    audit(tiny, digits.test, config, validation=digits.validation, show=False)
    assert len(searched["images"]) == len(HALF_MASSES) + len(HART_WIDTHS)
    for images, labels in zip(searched["images"], searched["labels"], strict=True):
        rows = digits.validation.part(20)
        assert torch.equal(images, digits.validation.images[rows].float() / 255)
        assert torch.equal(labels, digits.validation.labels[rows])
    # As many steps as the longest trial that will use the value: what is best for few is not for many.
    wanted = [(ASSG, value, 4) for value in HALF_MASSES] + [(HART, value, 3) for value in HART_WIDTHS]
    assert searched["values"] == wanted


@pytest.mark.parametrize(
    ("trial", "steps"),
    [("SA-PGD-2@ASSG", 2), ("APGD-L1-12@ASSG", 100), ("PATCH-5@ASSG", 20), ("MTPGD-3@ASSG", 3), ("FGSM@ASSG", 1)],
)
def test_a_radius_is_no_number_of_steps(tiny, digits, quick, searched, trial, steps):
    members = quick(trials=("PGD-1", trial)).members()
    images, labels = next(digits.validation.batches(4))
    TUNING.tune(tiny, images, labels, Linf(0.1), members, Crafting(), 4)
    assert {asked for _, _, asked in searched["values"]} == {steps}


@pytest.mark.parametrize(("assg", "hart"), [(0.39, 2.0), (0.45, 0.25)])
def test_the_value_that_leaves_the_lowest_accuracy_is_taken(tiny, digits, quick, searched, assg, hart):
    searched["left"] = {assg: 0.3, 0.41: 0.5, hart: 0.4, 1.0: 0.5}
    trials = ("FGSM", "SA-PGD-2@ASSG", "PGD-ANY-2@MIXED", "PGD-ANY-2@HART", "PGD-ANY-2@ASSG:0.2")
    found = audit(tiny, digits.test, quick(tune_samples=20, trials=trials), validation=digits.validation, show=False)
    assert found.tuning.tuned == Tuned(half_mass=assg, hart_width=hart)
    sources = {result.trial.name: result.trial.source for result in found.results}
    assert sources["SA-PGD-2@ASSG"] == ASSG(half_mass=assg)
    assert sources["PGD-ANY-2@HART"] == HART(width=hart)
    assert HART(width=hart) in sources["PGD-ANY-2@MIXED"].sources
    assert isinstance(sources["PGD-ANY-2@MIXED"], Mixed)
    assert sources["PGD-ANY-2@ASSG:0.2"] == ASSG(half_mass=0.2)  # what the text fixes stays
    said = found.to_json("")["tuning"]
    assert (said["samples"], said["half_mass"], said["hart_width"]) == (20, assg, hart)
    for name, values in (("half_mass", HALF_MASSES), ("hart_width", HART_WIDTHS)):
        wanted = {str(value): searched["left"].get(value, 1.0) for value in values}
        assert said["tried"][name] == pytest.approx(wanted)
    used = {row["trial"]: row["source"] for row in found.outcomes.to_pylist()}
    assert used["PGD-ANY-2@HART"] == f"HART width={hart}"


def test_the_search_is_of_real_attacks(tiny, digits, quick):
    """The accuracies that are told are those of SA-PGD with each value; a tie goes to the higher loss."""
    config = quick(tune_samples=30, samples=5, seed=2)
    found = audit(tiny, digits.test, config, validation=digits.validation, show=False)
    searched = digits.validation.take(digits.validation.part(30))
    images, labels = searched.images.float() / 255, searched.labels
    left = {}
    for value in HALF_MASSES:
        how = Crafting(source=ASSG(half_mass=value), seed=2)
        by_hand = sa_pgd(tiny, images, labels, config.threat, how, steps=6)
        loss = torch.nn.functional.cross_entropy(judge(tiny, by_hand.images), labels)
        left[value] = (int(by_hand.correct.sum()) / len(labels), -loss.item())
    assert found.tuning.tried == {"half_mass": {value: accuracy for value, (accuracy, _) in left.items()}}
    assert found.tuning.tuned == Tuned(half_mass=min(left, key=left.get))


@pytest.mark.parametrize(
    ("trials", "tried"),
    [
        (("FGSM", "APGD-CE-2", "PGD-ANY-2@RGA"), set()),
        (("FGSM", "SA-PGD-2@ASSG"), {"half_mass"}),
        (("FGSM", "PGD-ANY-2@HART"), {"hart_width"}),
        (("FGSM", "PGD-ANY-2@MIXED"), {"hart_width"}),
        (("FGSM", "SA-PGD-2@ASSG:0.45", "PGD-ANY-2@HART:0.5"), set()),
    ],
)
def test_only_what_the_trials_leave_open_is_searched(tiny, digits, quick, searched, trials, tried):
    config = quick(tune_samples=20, samples=5, trials=trials)
    found = audit(tiny, digits.test, config, validation=digits.validation, show=False)
    assert set(found.tuning.tried) == tried


@pytest.mark.parametrize("way", ["no samples", "no validation"])
def test_without_validation_the_defaults_are_taken(tiny, digits, quick, searched, way):
    config = quick(tune_samples=0 if way == "no samples" else 20, samples=5)
    validation = digits.validation if way == "no samples" else None
    found = audit(tiny, digits.test, config, validation=validation, show=False)
    assert not searched["values"]
    assert found.tuning.tuned == Tuned() == Tuned(half_mass=ASSG().half_mass, hart_width=HART().width)
    said = found.to_json("")["tuning"]
    labels = {"half_mass": "ASSG's A′", "hart_width": "HART's width"}
    assert said == {"samples": 0, "half_mass": 0.43, "hart_width": 1.0, "tried": {}, "labels": labels}


def test_fewer_validation_images_than_asked_for(tiny, digits, quick, searched):
    few = digits.validation.take(slice(0, 7))
    found = audit(tiny, digits.test, quick(tune_samples=100, samples=5), validation=few, show=False)
    assert found.tuning.samples == len(searched["images"][0]) == 7
