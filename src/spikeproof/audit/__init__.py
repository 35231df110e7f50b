"""Audits: a battery of attacks, every outcome kept, nominal and worst case side by side."""

from spikeproof.audit.audit import Audit, audit
from spikeproof.audit.battery import AuditConfig, Trial, battery
from spikeproof.audit.outcomes import Measured, Outcomes, worst_case

__all__ = ["Audit", "AuditConfig", "Measured", "Outcomes", "Trial", "audit", "battery", "worst_case"]
