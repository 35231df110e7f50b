"""What an audit found, and how it becomes files."""

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
from spikeproof.threat import NORMS


@dataclasses.dataclass(frozen=True)
class Result:
    """What one trial of the battery did.

    Attributes:
        trial: which one.
        everyone: whether it attacked every sample that is right when clean; else only what the trials before left.
        attempted: how many samples it attacked.
        broken: how many of these it broke; newly: how many of them no trial before had broken.
        own: its own accuracy, over all samples of the audit, where a sample that is wrong when clean counts as broken;
            None where ``everyone`` is False.
        left: the accuracy under it and every trial before it.
        seconds: the time it took, of all processes together.
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
        """Its own accuracy where it has one, else ``left``."""
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
class MeasuredPoint:
    """One point of a curve.

    Attributes:
        at: the radius, or the number of steps.
        trial: which one was run there.
        measured: the accuracy, over all samples of the curve.
    """

    at: float
    trial: Trial
    measured: Counted

    def fields(self) -> dict[str, Any]:
        """Its fields in audit.json, without the radius or the steps."""
        return {"trial": self.trial.name, "kind": self.trial.kind, **dict(self.measured)}


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found, as ``audit`` returns it. A ``Counted`` is a count of right samples and its 95 % interval.

    Attributes:
        config: what was asked, with "auto" and None settled.
        clean: accuracy on the clean images.
        results: of every trial, in the order in which they ran.
        protocol_trial: the name of the trial that ``protocol`` is of.
        protocol: accuracy under the papers' attack (PGD where the battery has it, else BIM, R+FGSM, FGSM).
        worst_case: accuracy on the clean image and under every trial within the radius together.
        undecided: of the worst case's samples, how many a random network's draws left undecided under some trial.
        no_number: why none of these numbers says how robust the network is, in a sentence; None where they do.
        search: how the last search by queries went, and what ten times its queries would break; None without one.
        zero_gradient_share: share of samples whose input gradient (BPTT, own surrogate) is exactly zero.
        sweep, step_sweep: accuracy against radius and against steps, on some samples.
        sites: for each site its margins on clean images (:func:`spikeproof.insight.describe_sites`).
        flags: every check of whether these numbers can be believed; doubts: the warnings, as records.
        tuning: the settings of gradient sources that validation samples decided.
        batch_size: images attacked at a time.
        pictures: arrays of some samples before and after an attack, as in pictures.npz.
        outcomes: every verdict, one row for each sample and trial; any other number can be computed from these.
        split_size: how many images the split has; classes: how many of each class, by name, were audited.
        images: the split's fingerprint (``ImageSet.fingerprint``).
        audited_images: a fingerprint of the audited images and their labels alone. Two audits with the same
            fingerprint may be compared.
        network: what was audited: its class, whose layers it has, and how it runs.
        device: "cpu" or "cuda".
        seconds: the time of the whole audit, without compiling.

    Example: see :func:`spikeproof.audit`.
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
    sweep: list[MeasuredPoint]
    step_sweep: list[MeasuredPoint]
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
        """Protocol accuracy - worst case accuracy, in [-1, 1]."""
        return self.protocol.accuracy - self.worst_case.accuracy

    @property
    def warnings(self) -> list[str]:
        """Why these numbers may not be what they seem, in sentences."""
        return [str(doubt) for doubt in self.doubts]

    def __str__(self) -> str:
        """The three numbers with their intervals, of what they are, and every warning: what ``print`` shows."""
        config, worst = self.config, "none" if self.no_number else _in_percent(self.worst_case)
        gap = "at least " if self.no_number else ""
        return "\n".join(
            [
                f"clean {_in_percent(self.clean)}, protocol ({self.protocol_trial}) {_in_percent(self.protocol)}, "
                f"worst case {worst}, masking gap {gap}{100 * self.masking_gap:.1f} points",
                f"Accuracy in percent, with its 95 % interval. {NORMS[config.norm]} {config.threat.eps:.4g}, "
                f"n = {self.worst_case.samples}, "
                f"{config.split} split, battery {config.battery or 'custom'}, crafted in "
                f"{for_verdicts(config.precision)}, seed {config.seed}, {self.device}.",
                *(() if self.flags else ("No check looked for red flags.",)),
                *(f"Doubtful: {warning}" for warning in self.warnings),
            ]
        )

    def record(self, command: str, files: Mapping[str, str] | None = None) -> AuditRecord:
        """As audit.json has it, which is what a report reads.

        Args:
            command: the command that made the audit.
            files: the SHA-256 of each file beside audit.json, by name; None for no files.

        Raises:
            SpikeproofError: the record would be refused when it is read.
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
        """The row of the clean images: whatever is wrong there counts as broken."""
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
        """Plain values as in audit.json, but without checksums; ``command`` is the one that made the audit."""
        return self.record(command).plain()

    def save(self, folder: str | Path, command: str = "spikeproof.audit(...)", *, force: bool = False) -> Path:
        """Keep it among the audits of a run folder, under a name that says what was asked (:func:`audit_name`).

        An earlier audit that was asked the same stays, and this one gets a number behind its name. A folder without a
        run becomes a run without training, so that it can be reported too.

        Args:
            folder: the run folder; it is made where there is none.
            command: what audit.json says made it.
            force: replace an earlier audit that was asked the same.

        Returns:
            The folder of the audit.

        Raises:
            SpikeproofError: another process writes to this run.
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
        """Write outcomes.parquet, pictures.npz and, last, audit.json with the checksums of both. Each write is atomic.

        Args:
            folder: of this audit; what it holds under these names is replaced.
            command: what audit.json says made it.
        """
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
    """The folder's name for what an audit asks: the main settings in words, and six hex digits for all of them.

    Args:
        config: as it was asked.
        substitutes: the paths of the networks on which transfer trials are crafted.

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
    """Refuse to replace an audit unless that was asked for.

    Args:
        folder: of the audit.
        force: whether it may be replaced.

    Raises:
        SpikeproofError: there is an audit in this folder, and ``force`` is False.
    """
    if (folder / "audit.json").exists() and not force:
        raise SpikeproofError(
            f"{folder} already holds this audit, and an audit is not replaced unless you say so; `spikeproof report` "
            "shows it, and --force (in Python force=True) runs it again."
        )


def _in_percent(counted: Counted) -> str:
    return f"{100 * counted.accuracy:.1f} [{100 * counted.low:.1f}, {100 * counted.high:.1f}]"
