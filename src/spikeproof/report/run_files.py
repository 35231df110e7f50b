"""Read and check one run folder: config.json, metrics.jsonl, and, where they exist, audit.json and pictures.npz.

All checks are made here and in the records, so what `read_run` returns can be drawn without further checks.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from spikeproof.errors import SpikeproofError
from spikeproof.records.audit_json import read_audit
from spikeproof.records.reading import as_record, read_text, sealed_value
from spikeproof.records.run_json import ConfigRecord, read_epochs
from spikeproof.report.certified import certificates_beside
from spikeproof.report.pictures import seen_at_once
from spikeproof.report.records import Pictures, SavedRun


def audits_in(folder: Path) -> list[Path]:
    """The folders of a run's audits: those below its ``audits``, and itself where an audit.json lies in it directly."""
    own = [folder] if (folder / "audit.json").is_file() else []
    return own + sorted(file.parent for file in (folder / "audits").glob("*/audit.json"))


def read_runs(folder: str | os.PathLike[str]) -> list[SavedRun]:
    """Read and check a run folder with all its audits.

    Args:
        folder: that ``train`` or ``audit`` wrote.

    Returns:
        The run once with each of its audits; once without any where it has none.

    Raises:
        SpikeproofError: whatever :func:`read_run` refuses.
    """
    audits = audits_in(Path(folder))
    return [read_run(folder, audited) for audited in audits] if audits else [read_run(folder)]


def read_run(folder: str | os.PathLike[str], audited: Path | None = None) -> SavedRun:
    """Read and check a run folder with one of its audits.

    Args:
        folder: that ``train`` or ``audit`` wrote.
        audited: the folder of the audit; None for none.

    Raises:
        SpikeproofError: config.json or metrics.jsonl is missing, or any file is damaged or contradicts itself.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpikeproofError(f"{folder} is not a run folder; give a folder that `spikeproof train` wrote.")
    path, mend = folder / "config.json", "train the run again, or give another folder"
    below = [] if path.exists() else sorted(file.parent.name for file in folder.glob("*/config.json"))
    if below:
        few = f"{', '.join(below[:3])}{' and others' if len(below) > 3 else ''}"
        raise SpikeproofError(
            f"{folder} is no run folder but holds some ({few}); give these, such as {folder / below[0]}."
        )
    fields = sealed_value(read_text(path, mend), str(path), mend)
    config = as_record(ConfigRecord, fields, str(path), mend)
    audit = None if audited is None else read_audit(audited / "audit.json")
    return SavedRun(
        folder=folder,
        audited=audited,
        name=config.name,
        command=config.command,
        config={**fields, "recipe": config.recipe},
        epochs=read_epochs(folder / "metrics.jsonl"),
        audit=audit,
        pictures=None if audited is None else _read_pictures(audited / "pictures.npz"),
        certificates=() if audited is None or audit is None else certificates_beside(folder, audited, audit),
    )


def _read_pictures(path: Path) -> Pictures | None:
    if not path.exists():
        return None
    mend = "audit the run again with `spikeproof audit`, or remove the file"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        pictures = Pictures(
            clean=seen_at_once(arrays["clean"]),
            adversarial=seen_at_once(arrays["adversarial"]),
            labels=arrays["labels"],
            clean_predictions=arrays["clean_predictions"],
            adversarial_predictions=arrays["adversarial_predictions"],
            class_names=tuple(str(name) for name in arrays["class_names"]),
            trial=str(arrays["trial"]),
        )
    except KeyError as error:
        raise SpikeproofError(f"{path} lacks the array {error}; {mend}.") from error
    except Exception as error:  # a damaged archive raises errors of many kinds in zipfile, zlib and numpy
        raise SpikeproofError(f"{path} cannot be read as the pictures of an audit ({error}); {mend}.") from error
    shape = pictures.clean.shape
    if len(shape) == 4 and shape[1] not in (1, 3):
        return None  # such as the two polarities of an event camera, which have no colours
    if len(shape) != 4 or pictures.adversarial.shape != shape:
        raise SpikeproofError(
            f"{path}: clean and adversarial should both be [K,C,H,W], got {list(shape)} and "
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
