"""What an audit found, and how it is written down."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spikeproof.atomic import write_atomically
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Flag
from spikeproof.audit.outcomes import Measured
from spikeproof.audit.trials import Trial
from spikeproof.audit.tuning import Tuning
from spikeproof.insight import SiteStatistics
from spikeproof.machine import machine_name
from spikeproof.train import RunFolder


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
    own: Measured | None
    left: Measured
    seconds: float

    @property
    def measured(self) -> Measured:
        """Its own accuracy where it has one, else what is left after it."""
        return self.own or self.left

    def to_json(self) -> dict[str, Any]:
        trial = self.trial
        return {
            "name": trial.name,
            "kind": trial.kind,
            "attack": trial.attack_name if trial.number is None else f"{trial.attack_name}-{trial.number}",
            "source": trial.source.name,
            "norm": trial.norm,
            "everyone": self.everyone,
            "attempted": self.attempted,
            "broken": self.broken,
            "newly_broken": self.newly,
            "left": self.left.to_json(),
            "seconds": round(self.seconds, 2),
            **self.measured.to_json(),
        }


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One trial at one radius or number of steps."""

    at: float
    trial: Trial
    measured: Measured


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found; ``outcomes`` holds every verdict, so any other number can be computed later.

    Attributes:
        clean: accuracy on the images as they are.
        results: of every trial, in the order in which they ran.
        nominal: under the papers' protocol attack (PGD where the battery has it, else BIM, R+FGSM, FGSM).
        worst_case: right on the clean image and under every trial within the radius.
        masking_gap: nominal - worst case accuracy.
        zero_gradient_share: share of samples whose input gradient (BPTT, own surrogate) is exactly zero.
        sweep, step_sweep: accuracy against radius and against steps, on some samples.
        flags: every check of whether these numbers can be believed; warnings: what is doubtful, in sentences.
        tuning: the attacks' settings that validation samples decided.
    """

    config: AuditConfig
    clean: Measured
    results: list[Result]
    nominal_trial: str
    nominal: Measured
    worst_case: Measured
    zero_gradient_share: float
    sweep: list[CurvePoint]
    step_sweep: list[CurvePoint]
    sites: list[SiteStatistics]
    flags: list[Flag]
    warnings: list[str]
    tuning: Tuning
    batch_size: int
    pictures: dict[str, Any]
    outcomes: pa.Table
    device: str
    seconds: float

    @property
    def masking_gap(self) -> float:
        return self.nominal.accuracy - self.worst_case.accuracy

    def to_json(self, command: str) -> dict[str, Any]:
        """Plain values for audit.json."""
        config = self.config
        clean = {"name": "clean", "kind": "clean", "attack": "none", "source": "none", "norm": "linf"}
        whole = {"everyone": True, "attempted": self.clean.samples}
        wrong = self.clean.samples - self.clean.correct
        untouched = {"broken": wrong, "newly_broken": wrong, "left": self.clean.to_json(), "seconds": 0.0}
        return {
            "version": 2,
            "samples": self.worst_case.samples,
            "split": config.split,
            "threat": {"norm": "linf", "radius": config.threat.radius},
            "battery": config.battery or "custom",
            "noise": "on" if config.noise else "off",
            "draws": config.draws,
            "judge_draws": config.verdict_draws,
            "device": self.device,
            "machine": machine_name(self.device),
            "crafting_precision": config.precision,
            "batch_size": self.batch_size,
            "seed": config.seed,
            "seconds": round(self.seconds, 1),
            "command": command,
            "trials": [
                clean | whole | untouched | self.clean.to_json(),
                *(result.to_json() for result in self.results),
            ],
            "nominal": {"trial": self.nominal_trial, **self.nominal.to_json()},
            "worst_case": self.worst_case.to_json(),
            "masking_gap": self.masking_gap,
            "zero_gradient_share": self.zero_gradient_share,
            "flags": [flag.to_json() for flag in self.flags],
            "warnings": self.warnings,
            "tuning": {
                "samples": self.tuning.samples,
                **dataclasses.asdict(self.tuning.tuned),
                "tried": {name: {str(k): v for k, v in by.items()} for name, by in self.tuning.tried.items()},
            },
            "sweep": [{"radius": point.at, **_curve_json(point)} for point in self.sweep],
            "step_sweep": [{"steps": int(point.at), **_curve_json(point)} for point in self.step_sweep],
            "sites": [site.to_json() for site in self.sites],
        }

    def save(self, folder: str | Path, command: str = "spikeproof.audit(...)") -> None:
        """Write outcomes.parquet, pictures.npz and, last, audit.json into a run folder, each whole or not at all.

        A folder without a run becomes one with an audit and no training, so that it can be reported too.
        """
        folder = Path(folder)
        if not (folder / "config.json").exists():
            bare = RunFolder(folder)
            bare.open(folder.name, {}, device=self.device, command=command, resume=False)
            bare.write_metrics([])
        text = json.dumps(self.to_json(command), indent=1) + "\n"
        buffer = io.BytesIO()
        np.savez(buffer, **self.pictures)
        write_atomically(folder / "outcomes.parquet", lambda path: pq.write_table(self.outcomes, path))
        write_atomically(folder / "pictures.npz", lambda path: path.write_bytes(buffer.getvalue()))
        write_atomically(folder / "audit.json", lambda path: path.write_text(text))


def _curve_json(point: CurvePoint) -> dict[str, Any]:
    return {"trial": point.trial.name, "kind": point.trial.kind, **point.measured.to_json()}
