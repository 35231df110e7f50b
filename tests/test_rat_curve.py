"""The published RAT curve, and what a run must do to agree with it."""

import importlib.util
import math
import sys
from pathlib import Path

from spikeproof.defenses import REG, AdversarialTraining

_FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "rat_curve.py"
_SPEC = importlib.util.spec_from_file_location("rat_curve", _FILE)
rat_curve = importlib.util.module_from_spec(_SPEC)
sys.modules["rat_curve"] = rat_curve  # where its dataclasses look for their module
_SPEC.loader.exec_module(rat_curve)
PUBLISHED_CURVE, RAT_CURVE, compare_curve = rat_curve.PUBLISHED_CURVE, rat_curve.RAT_CURVE, rat_curve.compare_curve


def run(epochs, *, train=0.0, clean=0.0, at=None):
    """Metrics of a run on the published curve, between whose points nothing changes, off by so many points."""
    lines = []
    for epoch in range(epochs):
        share = (epoch + 1) / epochs
        point = next(point for point in PUBLISHED_CURVE if (point.epoch + 1) / 200 >= share - 1e-9)
        off = at is None or epoch == at
        lines.append(
            {
                "epoch": epoch,
                "loss": point.loss_sum / 782,
                "train_accuracy": (point.train_accuracy + off * train) / 100,
                "validation_accuracy": (point.clean_accuracy + off * clean) / 100,
            }
        )
    return lines


def verdict(metrics, scale="full"):
    return compare_curve(metrics, scale).splitlines()[-1]


def test_the_recipe_is_the_published_one():
    assert list(RAT_CURVE.defenses) == [
        AdversarialTraining(eps="2/255", attack="fgsm"),
        REG(beta=0.004),
    ]
    train = RAT_CURVE.train
    assert (RAT_CURVE.model.name, RAT_CURVE.model.num_steps, RAT_CURVE.model.neuron.decay) == ("wrn16", 8, 1.0)
    assert (train.epochs, train.batch_size, train.validate_every, train.augmentation.cutout) == (200, 64, 1, 16)


def test_the_curve_is_as_logged():
    logged = {point.epoch: (point.loss_sum, point.train_accuracy, point.clean_accuracy) for point in PUBLISHED_CURVE}
    assert logged[0] == (1515.6, 27.01, 37.61)
    assert logged[49] == (922.3, 57.94, 73.68)
    assert logged[199] == (376.6, 85.65, 91.75)
    assert len(logged) == 11


def test_the_same_curve_agrees():
    text = compare_curve(run(200))
    assert text.splitlines()[-1] == "It agrees."
    assert "| 199 | 199 | 0.482 | 0.482 | +0.000 | 85.65 | 85.65 | +0.00 | 91.75 | 91.75 | +0.00 |" in text
    assert text.count("+0.000") == 11
    assert text == compare_curve(run(200))


def test_two_points_are_allowed_and_no_more():
    assert verdict(run(200, train=2.0)) == verdict(run(200, train=-2.0)) == "It agrees."
    assert verdict(run(200, train=2.01)).startswith("It differs: training accuracy at epoch 9 by +2.01 (allowed 2.00)")
    only = verdict(run(200, train=-3.0, at=99))
    assert only == "It differs: training accuracy at epoch 99 by -3.00 (allowed 2.00)."


def test_clean_accuracy_may_err_as_its_images_do():
    allowed = 2 + 200 * math.sqrt(0.9175 * 0.0825 / 1000)
    assert verdict(run(200, clean=allowed - 0.01, at=199)) == "It agrees."
    assert "clean accuracy at epoch 199" in verdict(run(200, clean=allowed + 0.01, at=199))


def test_the_first_epochs_are_shown_and_not_judged():
    text = compare_curve(run(200, train=9.0, clean=-9.0, at=4))
    assert text.splitlines()[-1] == "It agrees." and "+9.00" in text


def test_a_run_under_way_has_no_verdict():
    text = compare_curve(run(200)[:60])
    assert text.splitlines()[-1] == "No verdict: 60 of 200 epochs are done."
    assert "| 49 | 49 |" in text and "| 99 |" not in text


def test_a_short_run_is_compared_at_the_same_share():
    text = compare_curve(run(30), "short")
    listed = [
        tuple(map(int, line.split("|")[1:3])) for line in text.splitlines() if line.startswith("| ") and "%" not in line
    ]
    assert listed == [(9, 1), (19, 2), (49, 7), (99, 14), (149, 22), (179, 26), (189, 28), (199, 29)]
    assert text.splitlines()[-1].endswith("At the scale short it need not agree: the training is another.")


def test_a_run_must_look_every_epoch(refuses):
    blind = run(200)
    blind[3]["validation_accuracy"] = None
    for metrics in (blind, []):
        with refuses("validate_every=1"):
            compare_curve(metrics)
