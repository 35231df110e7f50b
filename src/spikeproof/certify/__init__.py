"""Certificates: what is proved of a network, beside what attacks find (see :func:`certify`)."""

from spikeproof.certify.bounds import never_another
from spikeproof.certify.certify import certify
from spikeproof.certify.config import METHODS, CertifyConfig, Method, MethodName
from spikeproof.certify.radius import l1_radius, l2_radius
from spikeproof.certify.votes import Smoothed, count_votes
from spikeproof.records.verdicts import broken_though_proved

__all__ = [
    "METHODS",
    "CertifyConfig",
    "Method",
    "MethodName",
    "Smoothed",
    "broken_though_proved",
    "certify",
    "count_votes",
    "l1_radius",
    "l2_radius",
    "never_another",
]
