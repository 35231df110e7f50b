"""The published training curve of SNN-RAT's WRN16 on CIFAR-10, as the acceptance test of a run.

    python benchmarks/rat_curve.py --scale short --data-dir DATA      # killed and started again, it goes on

It trains the network, prints its curve beside the published one, epoch by epoch, and says whether they agree.
From the log of the published checkpoint: T=8, FGSM of 2/255 through BPTT, retraction of 0.004, batches of 64, Cutout,
200 epochs. It gives sums of 782 batch losses; a run here gives means.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import tyro

from spikeproof.audit import AuditConfig
from spikeproof.defenses import AdversarialTraining
from spikeproof.engine import Store
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import train_recipe
from spikeproof.runs import RunFolder
from spikeproof.tables import Scale, at_scale
from spikeproof.tables.settings import plain, reg, with_training


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """A line of the published log.

    Attributes:
        epoch: from 0.
        loss_sum: of 782 batches, adversarial.
        train_accuracy: on the adversarial batches, in percent.
        clean_accuracy: on the test set, in percent.
    """

    epoch: int
    loss_sum: float
    train_accuracy: float
    clean_accuracy: float


PUBLISHED_CURVE = (
    CurvePoint(0, 1515.6, 27.01, 37.61),
    CurvePoint(1, 1361.9, 35.16, 46.50),
    CurvePoint(4, 1175.3, 44.76, 51.16),
    CurvePoint(9, 1060.4, 50.99, 66.06),
    CurvePoint(19, 981.7, 54.85, 67.10),
    CurvePoint(49, 922.3, 57.94, 73.68),
    CurvePoint(99, 806.3, 63.64, 74.62),
    CurvePoint(149, 575.4, 74.62, 86.80),
    CurvePoint(179, 409.4, 83.18, 91.00),
    CurvePoint(189, 378.1, 85.03, 91.55),
    CurvePoint(199, 376.6, 85.65, 91.75),
)
RAT_CURVE = with_training(
    plain("wrn16", "cifar10", 8).having(reg("wrn16"), AdversarialTraining(eps=2 / 255, attack="fgsm")),
    validate_every=1,
)
RAT_CURVE = dataclasses.replace(RAT_CURVE, audit=AuditConfig())

_BATCHES, _EPOCHS = 782, 200
# The first epochs hang on the start; these before are shown and not judged.
_JUDGED_FROM = 9
_TOLERANCE = 2.0


def compare_curve(metrics: list[dict[str, Any]], scale: Scale = "full") -> str:
    """Our curve beside the published one, as Markdown, and in its last line whether it agrees.

    A run of fewer epochs is compared at the same share of its training. It agrees when it is finished and, from the
    published epoch 9 on, its training accuracy is within 2 points everywhere, and its clean accuracy within 2 points
    and two standard errors of a validation split of the recipe's size (the published one is of 10,000 test images).

    Args:
        metrics: the lines of a run's ``metrics.jsonl``, of :data:`RAT_CURVE` at ``scale`` and validated every epoch.

    Raises:
        SpikeproofError: no lines, or epochs without a validation accuracy.

    Example:
        >>> line = {"epoch": 0, "loss": 1.9, "train_accuracy": 0.27, "validation_accuracy": 0.38}
        >>> compare_curve([line]).splitlines()[-1]
        'No verdict: 1 of 200 epochs are done.'
    """
    recipe = at_scale(RAT_CURVE, scale)
    epochs, images = recipe.train.epochs, recipe.data.validation
    assert images is not None
    if not metrics or any(line["validation_accuracy"] is None for line in metrics):
        raise SpikeproofError(
            "A training curve is compared epoch by epoch: give a run with metrics, trained with validate_every=1."
        )
    ours = {line["epoch"]: line for line in metrics}
    rows, apart = [], []
    for point in PUBLISHED_CURVE:
        epoch = math.floor((point.epoch + 1) * epochs / _EPOCHS + 0.5) - 1
        # A short run has no epoch at the shares of the first ones.
        if (point.epoch + 1) * epochs < _EPOCHS or epoch not in ours:
            continue
        line = ours[epoch]
        loss, train = line["loss"], 100 * line["train_accuracy"]
        clean = 100 * line["validation_accuracy"]
        theirs = point.loss_sum / _BATCHES
        rows.append(
            f"| {point.epoch} | {epoch} | {theirs:.3f} | {loss:.3f} | {loss - theirs:+.3f} "
            f"| {point.train_accuracy:.2f} | {train:.2f} | {train - point.train_accuracy:+.2f} "
            f"| {point.clean_accuracy:.2f} | {clean:.2f} | {clean - point.clean_accuracy:+.2f} |"
        )
        if point.epoch >= _JUDGED_FROM:
            allowed = _TOLERANCE + 200 * _standard_error(point.clean_accuracy / 100, images)
            for what, ours_is, theirs_is, most in (
                ("training", train, point.train_accuracy, _TOLERANCE),
                ("clean", clean, point.clean_accuracy, allowed),
            ):
                # Rounded, so that a difference that prints as the tolerance is within it.
                if round(abs(ours_is - theirs_is), 6) > most:
                    apart.append(f"{what} accuracy at epoch {epoch} by {ours_is - theirs_is:+.2f} (allowed {most:.2f})")
    return "\n".join(
        [
            "| published epoch | ours | loss, published | ours | difference "
            "| train %, published | ours | difference | clean %, published | ours | difference |",
            "|---" * 11 + "|",
            *rows,
            "",
            f"Losses are means of a batch (published: sums of {_BATCHES}). Training accuracy is on adversarial "
            f"batches. Clean accuracy is on the test set there, on {images} validation images here. It agrees when, "
            f"from the published epoch {_JUDGED_FROM} on, training accuracy is within {_TOLERANCE:.0f} points and "
            f"clean accuracy within {_TOLERANCE:.0f} points and two standard errors of {images} images.",
            "",
            _verdict(len(ours), epochs, apart, scale),
        ]
    )


def _standard_error(accuracy: float, images: int) -> float:
    return math.sqrt(accuracy * (1 - accuracy) / images)


def _verdict(done: int, epochs: int, apart: list[str], scale: Scale) -> str:
    if done < epochs:
        return f"No verdict: {done} of {epochs} epochs are done."
    verdict = f"It differs: {'; '.join(apart)}." if apart else "It agrees."
    return verdict if scale == "full" else f"{verdict} At the scale {scale} it need not agree: the training is another."


def main(
    scale: Scale = "mini", seed: int = 0, data_dir: Path | None = None, out: Path = Path("runs/reproduce")
) -> None:
    """Train SNN-RAT's published network and compare its training curve with the published one.

    Args:
        scale: of the tables; see `spikeproof reproduce --help`.
        data_dir: folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub.
        out: the store of `spikeproof reproduce`, in which the network lies under its content address.
    """
    smaller = at_scale(RAT_CURVE, scale)
    recipe = dataclasses.replace(smaller, train=dataclasses.replace(smaller.train, seed=seed))
    folder = Store(out).network(recipe)
    command = shlex.join(["python", *sys.argv])
    train_recipe(recipe, data_dir=data_dir, out=folder, resume=True, command=command)
    print(compare_curve(RunFolder(folder).metrics(), scale))


if __name__ == "__main__":
    tyro.cli(main)
