"""The engine: a table's rows become runs, audits and rows again, on one machine or many; killed and started at will."""

from spikeproof.engine.compare import compare
from spikeproof.engine.estimate import training_costs
from spikeproof.engine.execute import Circumstances
from spikeproof.engine.plan import TablePlan
from spikeproof.engine.pools import InProcess, TaskPool, make_pool
from spikeproof.engine.reproduce import check_folders, dry_run, reproduce
from spikeproof.engine.store import NamedStore, Store

__all__ = [
    "Circumstances",
    "InProcess",
    "NamedStore",
    "Store",
    "TablePlan",
    "TaskPool",
    "check_folders",
    "compare",
    "dry_run",
    "make_pool",
    "reproduce",
    "training_costs",
]
