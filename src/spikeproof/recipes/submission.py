"""A submission for the leaderboard: packed from a run, and checked by an audit of its weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch

from spikeproof.audit import MOST_AT_ONCE, AuditConfig, audit
from spikeproof.audit.audit import BEYOND
from spikeproof.audit.batteries import AROUND, BATTERIES
from spikeproof.audit.fingerprint import images_fingerprint
from spikeproof.data import ImageSet, load_data
from spikeproof.data.public_sets import PUBLIC_SETS
from spikeproof.disk import sealed, user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device
from spikeproof.models import SpikingModel, check_fits, draws_at_random, load_model
from spikeproof.recipes.recipe import DataConfig
from spikeproof.recipes.recorded import recorded_part
from spikeproof.recipes.run import load_run
from spikeproof.recipes.workload import kernels_for, threads_for
from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.record import in_one_sentence
from spikeproof.records.submission_json import (
    CHECKED,
    SUBMISSION,
    VERSION,
    CheckedRecord,
    ClaimRecord,
    SubmissionRecord,
    SubmittedAudit,
    SubmittedData,
)
from spikeproof.report import audits_in, read_run
from spikeproof.results.submissions import WEIGHTS, Comparison, compare, read_submission
from spikeproof.runs import RunFolder
from spikeproof.version import __version__

_NAMES = ("digits", *PUBLIC_SETS)
_FILES = {SUBMISSION, WEIGHTS, CHECKED}


def submit(
    run: Path,
    out: Path,
    *,
    by: str,
    paper: str = "",
    name: str | None = None,
    audit: Path | None = None,
    data_dir: Path | None = None,
) -> SubmissionRecord:
    """Pack a finished run for the leaderboard: its weights, and what its audit found, as a claim.

    Args:
        run: the run folder.
        out: a folder that is new, empty or an earlier submission.
        by: whose submission it is; paper: an address where the method can be read.
        name: of the row; None for the run's.
        audit: the folder of the audit, where the run has several.
        data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.

    Returns:
        What submission.json says.

    Raises:
        SpikeproofError: an unfinished run, no audit or several, an audit that nobody could repeat as the leaderboard
            does, a data set of one's own, or a folder of other things.
    """
    model, data = load_run(run, data_dir)
    settings = recorded_part(DataConfig, run, "data")
    found = read_run(run, _only_audit(run, audit)).audit
    assert found is not None
    _refuse_unusual(found, model, settings)
    weights = RunFolder(run).weights
    with in_one_sentence("The submission", "mend that option"):
        record = SubmissionRecord(
            version=VERSION,
            name=RunFolder(run).config()["name"] if name is None else name,
            by=by,
            paper=paper,
            training_data=f"{data.name}, {len(data.train)} images",
            weights=hashlib.sha256(weights.read_bytes()).hexdigest(),
            data=SubmittedData(name=settings.name, classes=settings.classes, test_limit=settings.test_limit),
            audit=SubmittedAudit(
                norm=found.norm,  # type: ignore[arg-type]
                eps=found.eps,
                battery=found.battery,
                samples=found.samples,
                seed=found.seed,
            ),
            images=found.images,
            claim=ClaimRecord(
                clean=found.trials[0].left.correct,
                protocol=found.protocol.correct,
                worst_case=found.worst_case.correct,
                trials={trial.name: trial.left.correct for trial in found.trials},
            ),
        )
    out = user_path(out)
    _refuse_other_content(out)
    text = json.dumps(record.plain(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(out / WEIGHTS, lambda path: shutil.copyfile(weights, path))
    (out / CHECKED).unlink(missing_ok=True)
    write_atomically(out / SUBMISSION, lambda path: path.write_text(text, encoding="utf-8"))
    return record


def check_submission(
    folder: Path, *, data_dir: Path | None = None, device: str = "auto", show: bool = True
) -> tuple[Comparison, CheckedRecord]:
    """Audit a submission's weights as its claim says, compare, and keep what was found beside it as checked.json.

    A check that was killed goes on where it was.

    Args:
        folder: with submission.json and model.safetensors.
        data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.
        device: "auto", "cpu" or "cuda".
        show: print a line a batch.

    Returns:
        Where claim and audit differ (:func:`spikeproof.results.compare`), and what was found.

    Raises:
        SpikeproofError: whatever :func:`spikeproof.results.read_submission` refuses; weights of a network that this
            version does not know, or that is not for these images; or an audit that cannot be repeated.
    """
    folder = user_path(folder)
    submission = read_submission(folder)
    record = submission.record
    config = _audit_of(record, folder)
    model = load_model(folder / WEIGHTS, kernels=kernels_for(folder / WEIGHTS))
    data = load_data(
        record.data.name, data_dir=data_dir, test_limit=record.data.test_limit, classes=record.data.classes
    )
    where = pick_device(device)
    check_fits(
        model,
        shape=data.test.images.shape[1:],
        classes=data.num_classes,
        called=f"the network in {folder}",
        data=f"{data.name}'s",
        mend="hand in the weights of the claim",
    )
    _refuse_other_images(record, data.test, folder)
    with threads_for(model, MOST_AT_ONCE, where):
        found = audit(model.to(where), data.test, config, parts=folder / "audit-parts", show=show)
    shutil.rmtree(folder / "audit-parts", ignore_errors=True)
    checked = CheckedRecord(
        version=VERSION,
        submission=submission.digest,
        weights=record.weights,
        network=_in_words(model),
        spikeproof=__version__,
        torch=torch.__version__,
        audit=found.record("spikeproof check"),
    )
    text = json.dumps(sealed(checked.plain()), indent=1) + "\n"
    write_atomically(folder / CHECKED, lambda path: path.write_text(text, encoding="utf-8"))
    return compare(record, checked.audit), checked


def _only_audit(run: Path, asked: Path | None) -> Path:
    audits = audits_in(run) if asked is None else [asked]
    if not audits:
        raise SpikeproofError(f"The run in {run} has no audit, so there is nothing to claim; audit it first.")
    if len(audits) > 1:
        named = ", ".join(each.name for each in audits[:3])
        raise SpikeproofError(
            f"The run in {run} has {len(audits)} audits ({named}, ...), and one is claimed; give its folder by --audit."
        )
    return audits[0]


def _refuse_unusual(found: AuditRecord, model: SpikingModel, data: DataConfig) -> None:
    """Refuse an audit that `spikeproof check` would not repeat as it was."""
    if data.name not in _NAMES:
        raise SpikeproofError(
            f"The run's data are {data.name}, which others cannot load by name; the leaderboard has "
            f"{', '.join(_NAMES)}."
        )
    if found.battery not in BATTERIES:
        raise SpikeproofError("The run's audit is of trials of its own; audit it with a battery, such as reliable.")
    random = draws_at_random(model)
    usual = AuditConfig(
        norm=found.norm,  # type: ignore[arg-type]
        eps=found.eps,
        battery=found.battery,  # type: ignore[arg-type]
        noise=random,
        eot_iter=10 if random else 1,
    )
    trials = {trial.name for trial in usual.members()}
    others = [
        name
        for trial in found.trials
        for name in trial.asked
        if not trial.added and name not in trials | {"clean", BEYOND}
    ]
    asked = {
        "split": (found.split, "test"),
        "noise": (found.noise, "on" if random else "off"),
        "eot_iter": (found.eot_iter, usual.eot_iter),
        "judge_draws": (found.judge_draws, usual.verdict_draws),
        "precision": (found.crafting_precision, "fp32"),
        "tune_samples": (found.tuning.samples, 0),
        "trials": (", ".join(others), ""),
    }
    for setting, (here, there) in asked.items():
        if here != there:
            raise SpikeproofError(
                f"The run's audit has {setting} {here!r} where the leaderboard has {there!r}; audit it again without "
                "that option."
            )


def _audit_of(record: SubmissionRecord, folder: Path) -> AuditConfig:
    """The audit that the claim is of; refused where there is none such."""
    asked = record.audit
    if record.data.name not in _NAMES:
        raise SpikeproofError(
            f"{folder} names the data {record.data.name!r}, and the leaderboard has {', '.join(_NAMES)}; "
            "claim one of these."
        )
    if asked.battery not in BATTERIES:
        raise SpikeproofError(
            f"{folder} names the battery {asked.battery!r}, and there are {', '.join(BATTERIES)}; claim one of these."
        )
    config = AuditConfig(
        norm=asked.norm,
        eps=asked.eps,
        samples=asked.samples,
        battery=asked.battery,  # type: ignore[arg-type]
        seed=asked.seed,
    )
    known = {"clean", BEYOND, *AROUND[asked.norm], *(trial.name for trial in config.members())}
    unknown = [name for name in record.claim.trials if name not in known]
    if unknown:
        raise SpikeproofError(
            f"{folder} claims a number of the trial {unknown[0]!r}, which the battery {asked.battery} does not have; "
            "leave it out."
        )
    return config


def _refuse_other_images(record: SubmissionRecord, images: ImageSet, folder: Path) -> None:
    samples = record.audit.samples
    if samples > len(images):
        raise SpikeproofError(
            f"{folder} claims numbers of {samples} images, and {record.data.name} has {len(images)} test images here; "
            "claim as many."
        )
    here = images_fingerprint(images.take(images.part(samples)))
    if record.images not in ("", here):
        raise SpikeproofError(
            f"{folder} claims numbers of other images than {record.data.name} has here (fingerprint {record.images} "
            f"instead of {here}); audit on the published data set, or load the same here."
        )


def _in_words(model: SpikingModel) -> str:
    """vgg11, width 0.125, T = 4, and the coding where it is not direct."""
    made = model.description
    coding = type(made.coding).__name__
    parts = [made.name, *([] if made.width == 1 else [f"width {made.width:g}"]), f"T = {made.num_steps}"]
    return ", ".join([*parts, *([] if coding == "Direct" else [coding])])


def _refuse_other_content(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if any(part.is_file() for part in (folder, *folder.parents)) or names - _FILES:
        raise SpikeproofError(f"{folder} holds other things than a submission; give a new or an empty folder.")
