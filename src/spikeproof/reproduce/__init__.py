"""Reproduce: a graph of runs (train, audit, measure, row) with content-addressed folders, on one machine or many."""

from spikeproof.reproduce.curve import CURVE, CurvePlan, reproduce_curve
from spikeproof.reproduce.execute import Circumstances
from spikeproof.reproduce.plan import Plan
from spikeproof.reproduce.pools import InProcess, Pool, make_pool
from spikeproof.reproduce.reproduce import check_folders, dry_run, reproduce
from spikeproof.reproduce.task import Store

__all__ = [
    "CURVE",
    "Circumstances",
    "CurvePlan",
    "InProcess",
    "Plan",
    "Pool",
    "Store",
    "check_folders",
    "dry_run",
    "make_pool",
    "reproduce",
    "reproduce_curve",
]
