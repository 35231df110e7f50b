"""What a run folder says: a Run has epochs, and perhaps an Audit and Pictures. Here records go by what they are of."""

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
    """One run folder, read and checked, with one of its audits.

    Attributes:
        audited: the folder of that audit, or None where there is none.
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
        """What training ran in; of a run from before that was kept, what its recipe says, if it does."""
        recipe = self.config["recipe"]
        train = recipe.get("train") if isinstance(recipe, Mapping) else None
        told = self.config.get("precision", train.get("precision") if isinstance(train, Mapping) else None)
        return None if told is None else str(told)
