"""Read and check one run folder: config.json, metrics.jsonl, and, where they exist, audit.json and pictures.npz.

All checks of the report room stand here, at the door; what `read_run` returns can be drawn without asking again.
"""

from __future__ import annotations

import itertools
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from spikeproof.errors import SpikeproofError
from spikeproof.report.fields import Fields, parse_json, read_text
from spikeproof.report.records import Audit, Epoch, Measured, Pictures, Run, Site, SweepPoint, Trial

AUDIT_VERSION = 1
ROUNDING = 1e-3  # how far two numbers of one file may disagree because one of them was rounded


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read and check the run folder ``folder``.

    Raises:
        SpikeproofError: config.json or metrics.jsonl is missing, or any of the four files is damaged or disagrees
            with itself.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpikeproofError(f"{folder} is not a run folder; give a folder that `spikeproof train` wrote.")
    path, mend = folder / "config.json", "train the run again, or give another folder"
    config = Fields(parse_json(read_text(path, mend), str(path), mend), str(path), mend)
    config.child("recipe")
    for name in ("spikeproof", "torch", "python", "device"):
        config.text(name)
    return Run(
        folder=folder,
        name=config.text("name"),
        command=config.text("command"),
        config=config.raw,
        epochs=_read_epochs(folder / "metrics.jsonl"),
        audit=_read_audit(folder / "audit.json"),
        pictures=_read_pictures(folder / "pictures.npz"),
    )


def _read_epochs(path: Path) -> tuple[Epoch, ...]:
    mend = "train the run again, or resume it from its last state"
    lines = [line for line in enumerate(read_text(path, mend).splitlines(), start=1) if line[1].strip()]
    epochs = []
    for number, line in lines:
        where = f"{path}, line {number}"
        row = Fields(parse_json(line, where, mend), where, mend)
        epochs.append(
            Epoch(
                epoch=row.whole("epoch"),
                loss=row.number("loss"),
                penalties=row.named_numbers("penalties"),
                train_accuracy=row.fraction("train_accuracy"),
                validation_accuracy=None if row.absent("validation_accuracy") else row.fraction("validation_accuracy"),
                learning_rate=row.number("learning_rate"),
                seconds=row.number("seconds"),
                firing_rates=row.named_numbers("firing_rates"),
            )
        )
    for before, after in itertools.pairwise(epochs):
        if after.epoch <= before.epoch:
            raise SpikeproofError(
                f"{path}: epochs should increase, got {after.epoch} after {before.epoch}; {mend}, or remove the lines "
                f"that came twice."
            )
    return tuple(epochs)


def _measured(row: Fields) -> Measured:
    measured = Measured(row.fraction("accuracy"), row.fraction("low"), row.fraction("high"))
    if not measured.low - ROUNDING <= measured.accuracy <= measured.high + ROUNDING:
        raise SpikeproofError(
            f"{row.where}: the accuracy {measured.accuracy} should lie between its bounds, got {measured.low} and "
            f"{measured.high}; {row.mend}."
        )
    return measured


def _read_audit(path: Path) -> Audit | None:
    if not path.exists():
        return None
    mend = "audit the run again with `spikeproof audit`"
    row = Fields(parse_json(read_text(path, mend), str(path), mend), str(path), mend)
    if row.whole("version") != AUDIT_VERSION:
        raise SpikeproofError(
            f"{path} has version {row.whole('version')}, and this spikeproof reads version {AUDIT_VERSION}; {mend}."
        )
    nominal, worst = _measured(row.child("nominal")), _measured(row.child("worst_case"))
    gap = row.number("masking_gap")
    if worst.accuracy > nominal.accuracy + ROUNDING or not abs(gap - (nominal.accuracy - worst.accuracy)) <= ROUNDING:
        raise SpikeproofError(
            f"{path}: the masking gap should be nominal - worst case and not negative, got {gap} from nominal "
            f"{nominal.accuracy} and worst case {worst.accuracy}; {mend}."
        )
    trials = tuple(_trial(entry) for entry in row.children("trials"))
    nominal_trial = row.child("nominal").text("trial")
    if not any(trial.kind == "nominal" and trial.name == nominal_trial for trial in trials):
        raise SpikeproofError(
            f"{path}: the nominal accuracy should come from one of the nominal trials, got {nominal_trial!r}; {mend}."
        )
    threat = row.child("threat")
    return Audit(
        samples=row.whole("samples"),
        split=row.text("split"),
        norm=threat.text("norm"),
        radius=threat.positive("radius"),
        noise=row.text("noise"),
        draws=row.whole("draws"),
        device=row.text("device"),
        crafting_precision=row.text("crafting_precision"),
        seed=row.whole("seed"),
        seconds=row.number("seconds"),
        command=row.text("command"),
        trials=trials,
        nominal=nominal,
        nominal_trial=nominal_trial,
        worst_case=worst,
        masking_gap=gap,
        zero_gradient_share=row.fraction("zero_gradient_share", undefined=True),
        warnings=row.texts("warnings"),
        sweep=tuple(_sweep_point(entry) for entry in row.children("sweep")),
        sites=tuple(_site(entry) for entry in row.children("sites")),
    )


def _trial(row: Fields) -> Trial:
    return Trial(
        **vars(_measured(row)),
        name=row.text("name"),
        kind=row.text("kind"),
        attack=row.text("attack"),
        source=row.text("source"),
        correct=row.whole("correct"),
        samples=row.whole("samples"),
    )


def _sweep_point(row: Fields) -> SweepPoint:
    return SweepPoint(
        **vars(_measured(row)),
        radius=row.number("radius"),
        trial=row.text("trial"),
        kind=row.text("kind"),
        samples=row.whole("samples"),
    )


def _site(row: Fields) -> Site:
    histogram = row.child("histogram")
    edges, counts = histogram.numbers("edges"), histogram.numbers("counts")
    if not counts or len(edges) != len(counts) + 1 or min(counts) < 0 or np.diff(edges).min() <= 0:
        raise SpikeproofError(
            f"{histogram.where} should hold increasing edges, one more than its counts, and no negative count, got "
            f"{len(edges)} edges and {len(counts)} counts; {row.mend}."
        )
    return Site(
        name=row.text("name"),
        window=row.positive("window"),
        omega=row.fraction("omega", undefined=True),
        proximal_share=row.fraction("proximal_share", undefined=True),
        proximal_width=row.positive("proximal_width"),
        firing_rate=row.fraction("firing_rate", undefined=True),
        edges=edges,
        counts=counts,
    )


def _read_pictures(path: Path) -> Pictures | None:
    if not path.exists():
        return None
    mend = "audit the run again with `spikeproof audit`, or remove the file"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        pictures = Pictures(
            clean=arrays["clean"],
            adversarial=arrays["adversarial"],
            labels=arrays["labels"],
            clean_predictions=arrays["clean_predictions"],
            adversarial_predictions=arrays["adversarial_predictions"],
            class_names=tuple(str(name) for name in arrays["class_names"]),
            trial=str(arrays["trial"]),
        )
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise SpikeproofError(f"{path} cannot be read as the pictures of an audit ({error}); {mend}.") from error
    except KeyError as error:
        raise SpikeproofError(f"{path} lacks the array {error}; {mend}.") from error
    shape = pictures.clean.shape
    if len(shape) != 4 or shape[1] not in (1, 3) or pictures.adversarial.shape != shape:
        raise SpikeproofError(
            f"{path}: clean and adversarial should both be [K,C,H,W] with 1 or 3 channels, got {list(shape)} and "
            f"{list(pictures.adversarial.shape)}; {mend}."
        )
    if pictures.clean.dtype != np.uint8:
        raise SpikeproofError(f"{path}: clean should be uint8, got {pictures.clean.dtype}; {mend}.")
    for name in ("labels", "clean_predictions", "adversarial_predictions"):
        indices = arrays[name]
        if indices.shape != shape[:1] or not np.isin(indices, np.arange(len(pictures.class_names))).all():
            raise SpikeproofError(
                f"{path}: {name} should hold one class index below {len(pictures.class_names)} per picture, got "
                f"{indices.tolist()}; {mend}."
            )
    return pictures
