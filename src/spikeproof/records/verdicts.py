"""outcomes.parquet, read: which samples stand, and certified <= true <= worst case, held image by image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spikeproof.records.certificate_json import CertificateRecord

if TYPE_CHECKING:
    import pyarrow as pa


def standing(outcomes: pa.Table, eps: float, norm: str) -> dict[int, bool]:
    """Whether each sample is right on the clean image and under every trial of this norm and radius."""
    still: dict[int, bool] = {}
    columns = (outcomes.column(name).to_pylist() for name in ("sample", "norm", "eps", "kind", "correct"))
    for sample, measured_in, at, kind, correct in zip(*columns, strict=True):
        if kind == "clean" or (measured_in == norm and math.isclose(at, eps, rel_tol=1e-9)):
            still[sample] = still.get(sample, True) and correct
    return still


def broken_though_proved(certificate: CertificateRecord, outcomes: pa.Table, eps: float) -> tuple[int, ...]:
    """Which images an audit broke within a radius in which they are proved right, by their numbers in the split.

    Of a proof (``of_votes`` off) there can be none, unless one of the two is of another network or at fault. A
    certificate of votes may err for a share alpha of its images.

    Args:
        certificate: of the images that were audited, and of the classifier that was.
        outcomes: the audit's, ``Audit.outcomes`` or outcomes.parquet, in the certificate's norm.
        eps: the audit's radius.
    """
    still = standing(outcomes, eps, certificate.norm)
    return tuple(sorted(sample for sample in certificate.proved(eps) if not still.get(sample, True)))
