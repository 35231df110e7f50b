"""``compare`` and ``demo``: a table without published numbers, whose runs lie in folders that bear its rows' names."""

from __future__ import annotations

import dataclasses

from spikeproof.engine.execute import Circumstances
from spikeproof.engine.plan import TablePlan
from spikeproof.engine.pools import TaskPool
from spikeproof.engine.runner import run
from spikeproof.engine.task import Task
from spikeproof.report import SavedRun, read_run


def compare(
    plan: TablePlan, pool: TaskPool, circumstances: Circumstances
) -> tuple[dict[str, list[SavedRun]], dict[Task, str]]:
    """Train and audit the plan's rows with every seed; what the store has already is left as it is.

    Args:
        plan: of a table without columns, see :func:`spikeproof.tables.comparison`.
        pool: who does the tasks.
        circumstances: the tasks'; its store is a :class:`NamedStore`, unless people need not find the runs.

    Returns:
        Of each row by its name the audited runs, one a seed, also those of other shares and other processes; and the
        tasks that failed, with why.

    Raises:
        SpikeproofError: a row was begun there with other settings, or a folder is damaged.
    """
    store = circumstances.store
    whole = dataclasses.replace(plan, share=(0, 1)).tasks(store)
    store.refuse_others(whole)
    failed = run(plan, pool, circumstances)
    rows: dict[str, list[SavedRun]] = {row.name: [] for row in plan.rows}
    for task in whole:
        place = store.audit(task.recipe, *task.audits)
        if (place / "audit.json").exists():
            rows[task.recipe.name].append(read_run(store.network(task.recipe), place))
    return rows, failed
