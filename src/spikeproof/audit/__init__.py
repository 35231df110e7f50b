"""Audits: a battery of attacks, every outcome kept, protocol and worst case side by side, flags where to doubt them."""

from spikeproof.audit.audit import MOST_AT_ONCE, audit
from spikeproof.audit.batteries import BATTERIES, NINETEEN_SOURCES, Battery, BatteryName
from spikeproof.audit.config import AuditConfig, Split
from spikeproof.audit.diagnostics import Flag
from spikeproof.audit.findings import Audit, Result, audit_name, refuse_present
from spikeproof.audit.outcomes import Outcomes, worst_case
from spikeproof.audit.shards import Shard
from spikeproof.audit.trials import Trial, Tuned, make_trial

__all__ = [
    "MOST_AT_ONCE",
    "BATTERIES",
    "NINETEEN_SOURCES",
    "Audit",
    "AuditConfig",
    "Battery",
    "BatteryName",
    "Flag",
    "Outcomes",
    "Result",
    "Shard",
    "Split",
    "Trial",
    "Tuned",
    "audit",
    "audit_name",
    "make_trial",
    "refuse_present",
    "worst_case",
]
