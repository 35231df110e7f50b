"""Addresses of results that lie in stores: code that changes one of them makes its network or its audits anew.

Where a recipe or a row is changed on purpose, its address here is to be changed too.
"""

from pathlib import Path

import pytest

from spikeproof.audit import AuditConfig
from spikeproof.engine.keys import audit_key, network_key
from spikeproof.engine.plan import TablePlan
from spikeproof.engine.store import Store
from spikeproof.recipes import find_recipe
from spikeproof.tables import find_table


@pytest.mark.parametrize(
    ("name", "network", "audit"),
    [
        ("mini-cifar10-vanilla", "a800b291084e9110", "9fd26a340c0fd706"),
        ("mini-cifar10-at-tgo", "f0d04bb26b719ab5", "905cae97e8c672e4"),
        ("mini-cifar10-dlif", "d1d09ae975f81f50", "f793a460022f3a77"),
        ("mini-cifar10-feel", "4cf6acdbd8526926", "2d76889b2e84960d"),
    ],
)
def test_of_recipes(name, network, audit):
    recipe = find_recipe(name)
    assert (network_key(recipe), audit_key(network, recipe.audit)) == (network, audit)


@pytest.mark.parametrize(
    ("table", "network", "audits"),
    [
        ("mpd-sgr-table2", "414f8bd5e0aae5b1", ["a9d9b01d7dbe9837", "561ade9b1b624d8e"]),
        ("mpd-sgr-figure3", "414f8bd5e0aae5b1", ["3681ccdf8e79253b", "fde0f07cf415edb9", "561ade9b1b624d8e"]),
        ("tgo-advanced", "a22792d2d16050d2", ["4a1521c34146d72c", "b836f999f23eb933"]),
        ("assg-main", "2f1fe6f13cba74c1", ["01ed4e9867765a4d", "e2da985b688804ad"]),
        ("ambiguities", "414f8bd5e0aae5b1", ["a52c68c082b20116", "561ade9b1b624d8e"]),
    ],
)
def test_of_the_first_row_of_a_table(table, network, audits):
    store = Store(Path("store"))
    plan = TablePlan.of(find_table(table), "mini", seeds=(0,))
    task = next(task for task in plan.tasks(store) if task.audits)
    assert (task.key, [store.audit(task.recipe, audit).name for audit in task.audits]) == (network, audits)


def test_of_trials_of_every_kind():  # not of the battery "everything", which a new attack makes another
    trials = ("PGD", "PGD-7@HART:0.5", "SA-PGD@BPTT:exp(0.3,1)")
    config = AuditConfig(battery="reliable", trials=trials, transfer=("FGSM",))
    assert audit_key("x", config) == "f8afafb218eaf757"
