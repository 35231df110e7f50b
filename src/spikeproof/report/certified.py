"""What certificates of a run say beside its audits: certified <= true <= worst case, on the same images."""

from __future__ import annotations

import math
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.certificate_json import FILE, CertificateRecord, read_certificate
from spikeproof.records.verdicts import broken_though_proved
from spikeproof.report.numbers import listed, percent
from spikeproof.report.outcomes_file import read_outcomes
from spikeproof.threat import NORMS

FOLDER = "certificates"


def certificates_beside(folder: Path, audited: Path, audit: AuditRecord) -> tuple[CertificateRecord, ...]:
    """The certificates of a run folder that are of the same images, norm and radius as an audit of it.

    Raises:
        SpikeproofError: one is damaged, or the audit broke what it proves.
    """
    found = [read_certificate(path) for path in sorted((folder / FOLDER).glob(f"*/{FILE}"))]
    same = [each for each in found if _comparable(each, audit) and math.isclose(each.eps, audit.eps, rel_tol=1e-9)]
    for each in same:
        check_agreement(each, audited, audit)
    return tuple(same)


def check_agreement(certificate: CertificateRecord, audited: Path, audit: AuditRecord) -> None:
    """Refuse an audit that broke images which a proof says no image in the ball can break.

    Certificates of votes are left alone: an audit of a run is of the network, and not of its votes.

    Args:
        audited: the folder of the audit.

    Raises:
        SpikeproofError: it did; so one of the two is of other weights, or at fault.
    """
    if certificate.of_votes or not _comparable(certificate, audit):
        return
    broken = broken_though_proved(certificate, read_outcomes(audited / "outcomes.parquet"), audit.eps)
    if broken:
        several = f"images {listed([str(each) for each in broken[:5]])}{' and others' if len(broken) > 5 else ''}"
        raise SpikeproofError(
            f"The audit in {audited} broke {several} of the {certificate.split} split, which a certificate of this run "
            "proves unbreakable there: one of the two is of other weights or wrong; make both anew, and report it if "
            "they still disagree."
        )


def certified_sentence(certificate: CertificateRecord, audit: AuditRecord) -> str:
    """The certified accuracy and what it says of the worst case."""
    found = certificate.certified
    settings = ", ".join(f"{name} {value:g}" for name, value in certificate.settings.items())
    ball = f"{NORMS.get(certificate.norm, certificate.norm.upper())} {certificate.eps:.4g}"  # type: ignore[call-overload]
    told = (
        f"Certified by {certificate.words}{f' ({settings})' if settings else ''}, {ball}: "
        f"{percent(found.accuracy)} % of the same images ({percent(found.low)} to {percent(found.high)} %)."
    )
    if certificate.of_votes:
        return (
            f"{told} That is of the majority vote under noise, another classifier than the one attacked here, so the "
            "two numbers do not bound each other."
        )
    worst = percent(audit.worst_case.accuracy)
    return (
        f"{told} Certified {percent(found.accuracy)} <= true <= worst case {worst} %: no attack broke an image that is "
        "proved."
    )


def _comparable(certificate: CertificateRecord, audit: AuditRecord) -> bool:
    return certificate.norm == audit.norm and certificate.images == audit.images != ""
