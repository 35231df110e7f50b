"""``reproduce``: rebuild a published table and put it beside the paper's. Killed and started again at will."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.reproduce.estimate import correction, hours
from spikeproof.reproduce.execute import Circumstances
from spikeproof.reproduce.gather import gather
from spikeproof.reproduce.plan import Plan
from spikeproof.reproduce.pools import Pool
from spikeproof.reproduce.runner import Work, run
from spikeproof.reproduce.task import Store, Task
from spikeproof.results import ResultRow, TableHeader, read_results, render_table, write_header, write_row


def reproduce(
    plan: Plan,
    pool: Pool,
    *,
    store: Store,
    results: Path,
    data_dir: Path | None,
    device: str,
    command: str,
    show: bool = True,
) -> tuple[str, dict[Task, str]]:
    """Train and audit what the plan asks for and what is not done, and write its result files.

    Args:
        store: where networks and audits lie, shared by all tables.
        results: the folder of result files. What the store has of this table is written anew; other files stay, but
            for those of rows that were asked for, failed, and are of another setting by now.
        data_dir: folder of the data sets.
        device: "cpu" or "cuda", for the estimates.
        show: say on stderr how far it is.

    Returns:
        The table as Markdown, equal byte for byte for equal results, and the tasks that failed, with why.

    Raises:
        SpikeproofError: a result that cannot be read or written.
    """
    circumstances = Circumstances(store, data_dir, command, show and pool.slots == 1)
    tell: Callable[[str], None] = to_stderr if show else lambda _: None
    _present(plan, results)  # a file there that cannot be read says so now, and not after hours
    failed = run(plan, pool, circumstances, device=device, tell=tell)
    before, earlier = _present(plan, results)
    private = Path.cwd() if data_dir is None else data_dir
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
    """Nothing, if these are folders or can be made.

    Raises:
        SpikeproofError: a file is in the way.
    """
    for folder in folders:
        if any(path.is_file() for path in (folder, *folder.parents)):
            raise SpikeproofError(f"{folder} cannot be a folder for results: a file is in its way; give another one.")


def _present(plan: Plan, results: Path) -> tuple[TableHeader | None, list[ResultRow]]:
    """What the results have of this table already."""
    if not results.is_dir():
        return None, []
    for header, rows in read_results(results):
        if (header.table, header.scale) == (plan.table.name, plan.scale):
            return header, rows
    return None, []


def dry_run(plan: Work, store: Store, *, slots: int, device: str) -> str:
    """What ``reproduce`` would do: a line for each task, and the hours."""
    known, waiting = plan.tasks(store), plan.waiting(store)
    factor = correction(known, store, device)
    estimated = hours([*known, *waiting], store, device, factor)
    lines = []
    for task, left in zip([*known, *waiting], estimated, strict=True):
        state = "done" if store.done(task) else "trained" if store.trained(task.recipe) else "to do"
        # What a calibrated row will be is not known yet; it costs about what its first candidate costs.
        key, state = (task.key, state) if task in known else ("after calibration", "to do")
        lines.append(f"{key:17}  {state:8}{left:9.2f} h  {task.label}")
    total = sum(estimated)
    where = f"{slots} at once on {device}" if slots > 1 else f"one at a time on {device}"
    return "\n".join([*lines, f"About {total / slots:.2f} hours, {where}: an estimate, corrected by what is done."])


def to_stderr(line: str) -> None:
    """Tell a person."""
    print(line, file=sys.stderr, flush=True)
