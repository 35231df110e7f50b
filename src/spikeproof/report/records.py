"""What a run folder says, as plain frozen records: a Run has epochs, and perhaps an Audit and Pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclasses.dataclass(frozen=True)
class Measured:
    """An accuracy in [0, 1] with its 95 % Wilson bounds."""

    accuracy: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Trial(Measured):
    """One attack with one gradient source on the audited samples; kind is clean, nominal or adaptive."""

    name: str
    kind: str
    attack: str
    source: str
    correct: int
    samples: int


@dataclasses.dataclass(frozen=True)
class SweepPoint(Measured):
    """One trial at one radius."""

    radius: float
    trial: str
    kind: str
    samples: int


@dataclasses.dataclass(frozen=True)
class Site:
    """Where the margins of one spiking layer lie. Shares that are undefined are NaN."""

    name: str
    window: float
    omega: float
    proximal_share: float
    proximal_width: float
    firing_rate: float
    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Audit:
    """What audit.json says: every trial, the nominal accuracy, the worst case and the conditions they hold under."""

    samples: int
    split: str
    norm: str
    radius: float
    noise: str
    draws: int
    device: str
    crafting_precision: str
    seed: int
    seconds: float
    command: str
    trials: tuple[Trial, ...]
    nominal: Measured
    nominal_trial: str
    worst_case: Measured
    masking_gap: float
    zero_gradient_share: float
    warnings: tuple[str, ...]
    sweep: tuple[SweepPoint, ...]
    sites: tuple[Site, ...]

    @property
    def has_adaptive(self) -> bool:
        """Without an adaptive attack the worst case is over nominal attacks only, and a small gap proves nothing."""
        return any(trial.kind == "adaptive" for trial in self.trials)


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One line of metrics.jsonl."""

    epoch: int
    loss: float
    penalties: Mapping[str, float]
    train_accuracy: float
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    firing_rates: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A few samples before and after one attack."""

    clean: UInt8[np.ndarray, "K C H W"]
    adversarial: Float[np.ndarray, "K C H W"]
    labels: Int[np.ndarray, " K"]
    clean_predictions: Int[np.ndarray, " K"]
    adversarial_predictions: Int[np.ndarray, " K"]
    class_names: tuple[str, ...]
    trial: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder, read and checked."""

    folder: Path
    name: str
    command: str
    config: Mapping[str, object]
    epochs: tuple[Epoch, ...]
    audit: Audit | None
    pictures: Pictures | None
