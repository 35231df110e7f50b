"""Images of one's own, class by class in folders: met without a recipe's defaults, and known again later."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from spikeproof.audit import AuditConfig
from spikeproof.recipes import audit_run, find_recipe, fitted_to_own_data, train_recipe

NAMES = ("ant", "bee", "cat")
CONFIG = AuditConfig(eps=0.1, samples=12, battery=None, trials=("FGSM",), tune_samples=0, diagnostics=False)


@pytest.fixture
def folder(tmp_path):
    """The first three digits under other names: 4 of 5 to train on."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 3:
            place = tmp_path / "set" / ("train" if number % 5 else "test") / NAMES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path / "set"


@pytest.fixture
def recipe(folder):
    found = find_recipe("demo-digits-vanilla")
    asked = dataclasses.replace(found, data=dataclasses.replace(found.data, name=str(folder)))
    training = dataclasses.replace(found.train, epochs=1, batch_size=32, device="cpu")
    return dataclasses.replace(fitted_to_own_data(asked, found), train=training)


@pytest.fixture
def run(recipe, tmp_path):
    train_recipe(recipe, data_dir=None, out=tmp_path / "run", show=False)
    return tmp_path / "run"


def audit_it(run, **options):
    return audit_run(run, CONFIG, data_dir=None, device="cpu", show=False, **options)


def invert(folder):
    for file in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)


def test_what_a_recipe_says_of_its_own_images_does_not_hold_for_others(recipe):
    assert (recipe.data.classes, recipe.data.validation, recipe.data.train_limit) == (None, None, None)
    assert recipe.audit.samples is None
    data = recipe.data.load(None)
    assert data.num_classes == 3 and len(data.validation) == (len(data.train) + len(data.validation)) // 10


def test_what_was_asked_for_stays(folder):
    listed = find_recipe("mini-cifar10-vanilla")
    data = dataclasses.replace(listed.data, name=str(folder), validation=40)
    audited = dataclasses.replace(listed.audit, samples=7)
    fitted = fitted_to_own_data(dataclasses.replace(listed, data=data, audit=audited), listed)
    assert (fitted.data.validation, fitted.data.classes, fitted.audit.samples) == (40, None, 7)


@pytest.mark.sweep
def test_a_few_of_the_images_have_every_class_in_its_share(run, recipe):
    found = audit_it(run)
    shares = recipe.data.load(None).test.labels.bincount() / len(recipe.data.load(None).test)
    assert list(found.classes) == ["0: ant", "1: bee", "2: cat"]
    assert all(abs(count - 12 * share) < 1 for count, share in zip(found.classes.values(), shares, strict=True))
    said = json.loads(next(run.glob("audits/*/audit.json")).read_text())
    assert (said["samples"], said["classes"]) == (12, found.classes) and said["split_size"] > 90


@pytest.mark.thorough
def test_the_same_images_are_audited_whatever_the_network(run, recipe, tmp_path):
    other = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=5))
    train_recipe(other, data_dir=None, out=tmp_path / "other", show=False)
    for each in (run, tmp_path / "other"):
        audit_it(each)
    chosen = [
        {row["sample"] for row in pq.read_table(next(place.glob("audits/*/outcomes.parquet"))).to_pylist()}
        for place in (run, tmp_path / "other")
    ]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 12


def test_classes_of_other_names_are_refused(run, folder, refuses):
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / "zebra")
    with refuses("zebra", "ant", run):
        audit_it(run)
    assert not (run / "audits").exists()


@pytest.mark.thorough
def test_test_images_that_were_changed_are_told_of(run, folder):
    def told(found):
        return any("are not those that the run had" in warning for warning in found.warnings)

    assert not told(audit_it(run))
    invert(folder / "test")
    assert told(audit_it(run, force=True))


def test_changed_training_images_are_not_gone_on_with(run, recipe, folder, refuses):
    invert(folder / "train")
    with refuses("training images", run):
        train_recipe(recipe, data_dir=None, out=run, resume=True, show=False)
