"""What an audit found, and how it is written down."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Flag
from spikeproof.audit.forecast import Forecast
from spikeproof.audit.network import Network
from spikeproof.audit.trials import Trial
from spikeproof.audit.tuning import Tuning
from spikeproof.disk import sealed, user_path, write_atomically
from spikeproof.doubt import Doubt
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import machine_name
from spikeproof.machine.precision import for_verdicts
from spikeproof.records.audit_json import (
    AUDIT_VERSION,
    AuditRecord,
    FlagRecord,
    NetworkRecord,
    Search,
    SiteMargins,
    ThreatRecord,
)
from spikeproof.records.record import in_one_sentence
from spikeproof.records.trials import Counted, ProtocolRecord, StepPoint, SweepPoint, TrialRecord
from spikeproof.runs import RunFolder


@dataclasses.dataclass(frozen=True)
class Result:
    """What one trial of the battery did.

    Attributes:
        everyone: whether it attacked every sample that is right when clean; else only what the trials before left.
        attempted: how many samples that were.
        broken: how many of these it broke; newly: how many that no trial before it had.
        own: its own accuracy, over all samples of the audit, a clean error counting as broken; None without everyone.
        left: the accuracy under it and every trial before it.
        seconds: what it took.
    """

    trial: Trial
    everyone: bool
    attempted: int
    broken: int
    newly: int
    own: Counted | None
    left: Counted
    seconds: float

    @property
    def measured(self) -> Counted:
        """Its own accuracy where it has one, else what is left after it."""
        return self.own or self.left

    def record(self) -> TrialRecord:
        """As audit.json has it."""
        trial = self.trial
        return TrialRecord(
            **dict(self.measured),
            name=trial.name,
            kind=trial.kind,
            attack=trial.attack_text,
            source=trial.source.name,
            norm=trial.norm,
            queries=trial.queries,
            added=trial.added,
            stands_for=trial.stands_for,
            everyone=self.everyone,
            attempted=self.attempted,
            broken=self.broken,
            newly_broken=self.newly,
            left=self.left,
            seconds=round(self.seconds, 2),
        )


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One trial at one radius or number of steps."""

    at: float
    trial: Trial
    measured: Counted

    def fields(self) -> dict[str, Any]:
        """What audit.json has of it, but for where it is."""
        return {"trial": self.trial.name, "kind": self.trial.kind, **dict(self.measured)}


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found; ``outcomes`` holds every verdict, so any other number can be computed later.

    Attributes:
        clean: accuracy on the images as they are.
        results: of every trial, in the order in which they ran.
        protocol: under the papers' attack (PGD where the battery has it, else BIM, R+FGSM, FGSM).
        worst_case: right on the clean image and under every trial within the radius.
        masking_gap: protocol - worst case accuracy.
        undecided: of the worst case's samples, how many a random network's draws could not decide under some trial.
        no_number: why none of these numbers says how robust the network is, in a sentence; None where they do.
        search: how the last search by queries went, and what ten times its queries would break; None without one.
        zero_gradient_share: share of samples whose input gradient (BPTT, own surrogate) is exactly zero.
        sweep, step_sweep: accuracy against radius and against steps, on some samples.
        flags: every check of whether these numbers can be believed; doubts: what is doubtful about them.
        tuning: the attacks' settings that validation samples decided.
        split_size: how many images the split has; classes: how many of each class, by name, were audited.
        images: the split's fingerprint (``ImageSet.fingerprint``).
        audited_images: of the audited images and their labels alone: two audits with the same may be compared.
        network: what was audited: its class, whose layers it has, and how it runs.
    """

    config: AuditConfig
    clean: Counted
    results: list[Result]
    protocol_trial: str
    protocol: Counted
    worst_case: Counted
    undecided: int
    no_number: str | None
    search: Forecast | None
    zero_gradient_share: float
    sweep: list[CurvePoint]
    step_sweep: list[CurvePoint]
    sites: list[SiteMargins]
    flags: list[Flag]
    doubts: list[Doubt]
    tuning: Tuning
    batch_size: int
    pictures: dict[str, Any]
    outcomes: pa.Table
    split_size: int
    classes: dict[str, int]
    images: str
    audited_images: str
    network: Network
    device: str
    seconds: float

    @property
    def masking_gap(self) -> float:
        return self.protocol.accuracy - self.worst_case.accuracy

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about these numbers, in sentences."""
        return [str(doubt) for doubt in self.doubts]

    def record(self, command: str, files: Mapping[str, str] | None = None) -> AuditRecord:
        """As audit.json has it, which is what a report reads.

        Args:
            command: that made it; files: the checksums of the files beside it.

        Raises:
            SpikeproofError: nobody could read it.
        """
        config, mend = self.config, "report this, as it is a fault of spikeproof's own"
        with in_one_sentence("What this audit found", mend):
            return AuditRecord(
                version=AUDIT_VERSION,
                samples=self.worst_case.samples,
                split=config.split,
                split_size=self.split_size,
                classes=self.classes,
                images=self.images,
                audited_images=self.audited_images,
                network=NetworkRecord.model_validate(self.network),
                threat=ThreatRecord(norm=config.norm, eps=config.threat.eps),
                battery=config.battery or "custom",
                noise="on" if config.noise else "off",
                eot_iter=config.eot_iter or 1,
                judge_draws=config.verdict_draws,
                device=self.device,
                machine=machine_name(self.device),
                crafting_precision=for_verdicts(config.precision),
                batch_size=self.batch_size,
                seed=config.seed,
                seconds=round(self.seconds, 1),
                command=command,
                trials=(self._clean(), *(result.record() for result in self.results)),
                protocol=ProtocolRecord(**dict(self.protocol), trial=self.protocol_trial),
                worst_case=self.worst_case,
                undecided=self.undecided,
                masking_gap=self.masking_gap,
                no_number=self.no_number,
                search=None if self.search is None else Search.model_validate(self.search),
                zero_gradient_share=self.zero_gradient_share,
                flags=tuple(FlagRecord.model_validate(flag) for flag in self.flags),
                warnings=tuple(self.doubts),
                tuning=self.tuning.record(),
                sweep=tuple(SweepPoint(eps=point.at, **point.fields()) for point in self.sweep),
                step_sweep=tuple(StepPoint(steps=int(point.at), **point.fields()) for point in self.step_sweep),
                sites=tuple(self.sites),
                files=dict(files or {}),
            )

    def _clean(self) -> TrialRecord:
        """The row of the images as they are: whoever is wrong there is broken by nothing."""
        clean, wrong = self.clean, self.clean.samples - self.clean.correct
        return TrialRecord(
            **dict(clean),
            name="clean",
            kind="clean",
            attack="none",
            source="none",
            norm=self.config.norm,
            everyone=True,
            attempted=clean.samples,
            broken=wrong,
            newly_broken=wrong,
            left=clean,
            seconds=0.0,
        )

    def to_json(self, command: str) -> dict[str, Any]:
        """Plain values for audit.json."""
        return self.record(command).plain()

    def save(self, folder: str | Path, command: str = "spikeproof.audit(...)", *, force: bool = False) -> Path:
        """Keep it among the audits of a run folder, under a name that says what was asked (:func:`audit_name`).

        One that was asked the same stays, and this one stands beside it under a number. A folder without a run becomes
        one with an audit and no training, so that it can be reported too.

        Args:
            force: replace an audit that was asked the same.

        Returns:
            The folder of the audit.

        Raises:
            SpikeproofError: another process is at the run.
        """
        run = RunFolder(user_path(folder))
        with run.lock():
            target = run.path / "audits" / audit_name(self.config)
            names = (target.with_name(f"{target.name}-{number}") for number in itertools.count(2))
            while not force and (target / "audit.json").exists():
                target = next(names)
            if not run.exists:
                run.open(run.path.name, {}, device=self.device, command=command, resume=False)
                run.write_metrics([])
            self.write(target, command)
        return target

    def write(self, folder: Path, command: str) -> None:
        """Write outcomes.parquet, pictures.npz and, last, audit.json, which has the others' checksums; each whole."""
        buffer, rows = io.BytesIO(), io.BytesIO()
        np.savez(buffer, **self.pictures)
        pq.write_table(self.outcomes, rows)
        files = {"outcomes.parquet": rows.getvalue(), "pictures.npz": buffer.getvalue()}
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        record = sealed(self.record(command, checksums).plain())
        files["audit.json"] = (json.dumps(record, indent=1) + "\n").encode()
        for name, content in files.items():
            write_atomically(folder / name, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]


def audit_name(config: AuditConfig, substitutes: Sequence[str | Path] = ()) -> str:
    """A folder's name for what an audit asks: in words what matters most, and six hex digits for all of it.

    Example:
        >>> audit_name(AuditConfig(samples=200))[:-7]
        'reliable-linf-8_255-n200'
    """
    levels = config.threat.eps * 255
    exact = config.norm == "linf" and abs(levels - round(levels)) < 1e-9
    words = [
        config.battery or "custom",
        config.norm,
        f"{round(levels)}_255" if exact else f"{config.threat.eps:.4g}",
        "all" if config.samples is None else f"n{config.samples}",
        *([] if config.split == "test" else [config.split]),
        *([] if config.seed == 0 else [f"s{config.seed}"]),
    ]
    settings = json.dumps([config.meaning(), [str(each) for each in substitutes]], sort_keys=True, default=str)
    return f"{'-'.join(words)}-{hashlib.sha256(settings.encode()).hexdigest()[:6]}"


def refuse_present(folder: Path, *, force: bool) -> None:
    """Refuse to replace an audit that nobody said may go.

    Raises:
        SpikeproofError: there is one in this folder.
    """
    if (folder / "audit.json").exists() and not force:
        raise SpikeproofError(
            f"This audit is in {folder} already, and nothing is replaced unasked; `spikeproof report` shows it, and "
            "--force (in Python force=True) makes it anew."
        )
