"""A run folder as reports read it: a SavedRun has epochs, and may have an Audit and Pictures.

The records of ``spikeproof.records`` have shorter names here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from spikeproof.records.audit_json import AuditRecord as Audit
from spikeproof.records.audit_json import FlagRecord as Flag
from spikeproof.records.audit_json import NetworkRecord as Network
from spikeproof.records.audit_json import Search
from spikeproof.records.audit_json import SiteMargins as Site
from spikeproof.records.certificate_json import CertificateRecord as Certificate
from spikeproof.records.run_json import Epoch
from spikeproof.records.trials import Accuracy as Measured
from spikeproof.records.trials import Counted, StepPoint, SweepPoint
from spikeproof.records.trials import TrialRecord as Trial

__all__ = [
    "Audit",
    "Certificate",
    "Counted",
    "Epoch",
    "Flag",
    "Measured",
    "Network",
    "Search",
    "Site",
    "StepPoint",
    "SweepPoint",
    "Trial",
]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A few samples before and after one attack.

    Attributes:
        clean: values 0 to 255.
        adversarial: values in [0, 1].
        labels, clean_predictions, adversarial_predictions: indices of ``class_names``.
        class_names: of all classes.
        trial: the name of the attack's trial.
    """

    clean: UInt8[np.ndarray, "K C H W"]
    adversarial: Float[np.ndarray, "K C H W"]
    labels: Int[np.ndarray, " K"]
    clean_predictions: Int[np.ndarray, " K"]
    adversarial_predictions: Int[np.ndarray, " K"]
    class_names: tuple[str, ...]
    trial: str


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """One run folder, read and checked, with one of its audits or with none.

    Attributes:
        folder: the run folder.
        audited: the folder of the audit; None without one.
        name, command: the run's name, and the command that started it.
        config: what config.json holds.
        epochs: the lines of metrics.jsonl.
        audit, pictures: None without them.
        certificates: those of the audit's images, norm and radius.
    """

    folder: Path
    audited: Path | None
    name: str
    command: str
    config: Mapping[str, object]
    epochs: tuple[Epoch, ...]
    audit: Audit | None
    pictures: Pictures | None
    certificates: tuple[Certificate, ...] = ()

    @property
    def precision(self) -> str | None:
        """The precision of training; for older runs what the recipe says, or None where it says nothing."""
        recipe = self.config["recipe"]
        train = recipe.get("train") if isinstance(recipe, Mapping) else None
        precision = self.config.get("precision", train.get("precision") if isinstance(train, Mapping) else None)
        return None if precision is None else str(precision)
