"""``reproduce``: rebuild a published table and put it beside the paper's. Killed and started again at will."""

from __future__ import annotations

from pathlib import Path

from spikeproof.data.locate import whereabouts
from spikeproof.data.public_sets import PUBLIC_SETS
from spikeproof.engine.estimate import correction, hours
from spikeproof.engine.execute import Circumstances
from spikeproof.engine.gather import gather
from spikeproof.engine.plan import TablePlan, label_of
from spikeproof.engine.pools import TaskPool
from spikeproof.engine.runner import run
from spikeproof.engine.store import Store
from spikeproof.engine.task import Task
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device
from spikeproof.results import ResultRow, TableHeader, read_results, render_table, write_header, write_row


def reproduce(
    plan: TablePlan, pool: TaskPool, circumstances: Circumstances, results: Path
) -> tuple[str, dict[Task, str]]:
    """Train and audit what the plan asks for and what is not done, and write its result files.

    Args:
        pool: who does the tasks.
        circumstances: the tasks'; its store is shared by all tables.
        results: the folder of result files. What the store has of this table is written anew; other files stay, but
            for those of rows that were asked for, failed, and are of another setting by now.

    Returns:
        The table as Markdown, equal byte for byte for equal results, and the tasks that failed, with why.

    Raises:
        SpikeproofError: a result that cannot be read or written.
    """
    _present(plan, results)  # a file there that cannot be read says so now, and not after hours
    failed = run(plan, pool, circumstances)
    before, earlier = _present(plan, results)
    store, private = circumstances.store, circumstances.data_dir or Path.cwd()
    header, rows = gather(plan, store, failed, before=before, seeds={row.seed for row in earlier}, private=private)
    write_header(header, results)
    for row in rows:
        write_row(row, results)
    keys = {
        (row.name, seed): plan.task(store, row, seed, failed).key
        for row in plan.rows
        if plan.choices(store, row, failed) is not None
        for seed in plan.seeds
    }
    written = {(row.row, row.seed) for row in rows}
    for row in earlier:
        name = row.row, row.seed
        if name not in written and keys.get(name, row.recipe_hash) != row.recipe_hash:
            (results / f"{row.table}-{row.scale}" / f"{row.row}-s{row.seed}.json").unlink()
    return render_table(header, rows), failed


def check_folders(*folders: Path) -> None:
    """Refuse what is no folder and cannot become one.

    Args:
        folders: for results.

    Raises:
        SpikeproofError: a file is in the way.
    """
    for folder in folders:
        if any(path.is_file() for path in (folder, *folder.parents)):
            raise SpikeproofError(f"{folder} cannot be a folder for results: a file is in its way; give another one.")


def _present(plan: TablePlan, results: Path) -> tuple[TableHeader | None, list[ResultRow]]:
    """What the results have of this table already."""
    if not results.is_dir():
        return None, []
    for header, rows in read_results(results):
        if (header.table, header.scale) == (plan.table.name, plan.scale):
            return header, rows
    return None, []


def dry_run(plan: TablePlan, store: Store, slots: int, data_dir: str | Path | None = None) -> str:
    """What ``reproduce`` would do: where to, a line for each task with its hours and, if it is of a row, its name, and
    whether the data is at hand.

    Args:
        slots: how many tasks are done at once.
        data_dir: as for ``load_data``.
    """
    device = pick_device("auto").type
    known, waiting = plan.tasks(store), plan.waiting(store)
    factor = correction(known, store, device)
    estimated = hours([*known, *waiting], store, device, factor)
    names = {label_of(row, seed): f" ({row.name})" for row in plan.rows for seed in plan.seeds}
    lines = [
        f"{plan.table.title}, scale {plan.scale}, into {store.root}. This is a look: leave out --dry-run to begin.",
        f"{'network':17}  {'state':8}{'to do':>9}    row, seed (its name for --rows)",
    ]
    for task, left in zip([*known, *waiting], estimated, strict=True):
        state = "done" if store.done(task) else "trained" if store.trained(task.recipe) else "to do"
        # What a calibrated row will be is not known yet; it costs about what its first candidate costs.
        key, state = (task.key, state) if task in known else ("after calibration", "to do")
        lines.append(f"{key:17}  {state:8}{left:9.2f} h  {task.label}{names.get(task.label, '')}")
    total = sum(estimated)
    where = f"{slots} at once on {device}" if slots > 1 else f"one at a time on {device}"
    sets = dict.fromkeys(task.recipe.data.name for task in (*known, *waiting))
    lines += [f"Data: {whereabouts(PUBLIC_SETS[name], data_dir)}" for name in sets if name in PUBLIC_SETS]
    return "\n".join([*lines, f"About {total / slots:.2f} hours, {where}: an estimate, corrected by what is done."])
