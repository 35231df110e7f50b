"""Hardening: the best known defense for a budget of minutes, and what it gained, audited before and after."""

from spikeproof.harden.budget import Plan, plan
from spikeproof.harden.harden import Hardened, harden

__all__ = ["Hardened", "Plan", "harden", "plan"]
