"""Walk the graph: start what is ready, hear what ended, tell how far the table is; never stop for one failure."""

from __future__ import annotations

import dataclasses
import sys
import time

from spikeproof.engine.estimate import correction, hours
from spikeproof.engine.execute import Circumstances, is_busy
from spikeproof.engine.plan import TablePlan
from spikeproof.engine.pools import TaskPool
from spikeproof.engine.task import Task
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device

# Seconds before it is looked again whether other processes are done with their networks.
_PATIENCE = 10.0


def run(plan: TablePlan, pool: TaskPool, circumstances: Circumstances) -> dict[Task, str]:
    """Do all that the plan asks for and that is not done. A task that fails is told and does not stop the others.

    Several processes may do this at once: each takes what no other is at, and all end when all is done.

    Args:
        pool: who does the tasks.
        circumstances: the tasks'. Failures are said on stderr in any case.

    Returns:
        The tasks that failed, and why.
    """
    walk = _Walk(plan, pool, circumstances)
    try:
        return walk.to_the_end()
    except BaseException:
        pool.stop()
        raise


class _Walk:
    def __init__(self, plan: TablePlan, pool: TaskPool, circumstances: Circumstances) -> None:
        self.plan, self.pool, self.store, self.show = plan, pool, circumstances.store, circumstances.show
        # Where several tell at once, nobody can read it.
        self.circumstances = dataclasses.replace(circumstances, show=circumstances.show and pool.slots == 1)
        self.device = pick_device("auto").type
        self.failed: dict[Task, str] = {}
        self.running: dict[Task, float] = {}
        self.elsewhere: set[Task] = set()
        self.later: dict[Task, float] = {}  # when to try again what another process was at

    def to_the_end(self) -> dict[Task, str]:
        while True:
            ready = self._ready()
            for task in ready[: self.pool.slots - len(self.running)]:
                self._start(task)
            if self.running:
                self._hear()
            elif self.elsewhere:
                time.sleep(_PATIENCE)
            elif not ready:
                return self.failed

    def _ready(self) -> list[Task]:
        """The tasks that can begin now, one a network."""
        lost = {self.store.network(task.recipe): task for task in self.failed if not self.store.trained(task.recipe)}
        ready, at = [], {self.store.network(task.recipe) for task in self.running}
        before, self.elsewhere = self.elsewhere, set()
        for task in self.plan.tasks(self.store, self.failed):
            network = self.store.network(task.recipe)
            if self.store.done(task) or task in self.failed or network in at:
                continue
            needed = [network, *(self.store.network(recipe) for recipe in task.needs())]
            failed = [lost[each] for each in needed if each in lost]
            if failed:
                same = self.store.network(failed[0].recipe) == network
                self._fail(task, self.failed[failed[0]] if same else f"it needs {failed[0].label}, which failed")
            elif all(self.store.trained(recipe) for recipe in task.needs()):
                at.add(network)  # two tasks of one network: one after the other
                if self.later.get(task, 0.0) > time.monotonic() or is_busy(self.store, task.recipe):
                    self.elsewhere.add(task)
                    if task not in before:
                        self._tell(f"{task.label}: another process is at it")
                else:
                    ready.append(task)
        return ready

    def _start(self, task: Task) -> None:
        self._tell(f"{task.label}: begins")
        try:
            self.pool.start(task, self.circumstances)
        except SpikeproofError as error:
            self._fail(task, str(error))
            return
        self.running[task] = time.monotonic()

    def _hear(self) -> None:
        outcome = self.pool.wait()
        seconds = time.monotonic() - self.running.pop(outcome.task)
        if outcome.status == "failed":
            self._fail(outcome.task, outcome.why)
        elif outcome.status == "busy":
            self.later[outcome.task] = time.monotonic() + _PATIENCE
        else:
            self._tell(f"{outcome.task.label}: done in {_words(seconds)}; {self._left()}")

    def _fail(self, task: Task, why: str) -> None:
        self.failed[task] = why
        print(f"{task.label}: failed: {why}", file=sys.stderr, flush=True)

    def _tell(self, line: str) -> None:
        if self.show:
            print(line, file=sys.stderr, flush=True)

    def _left(self) -> str:
        tasks = self.plan.tasks(self.store, self.failed)
        todo = [task for task in tasks if task not in self.failed and not self.store.done(task)]
        waiting = self.plan.waiting(self.store, self.failed)
        factor = correction(tasks, self.store, self.device)
        seconds = sum(hours([*todo, *waiting], self.store, self.device, factor)) * 3600 / self.pool.slots
        wanted, undone, lost = (
            {self.store.network(task.recipe) for task in each}
            for each in ((*tasks, *waiting), (*todo, *waiting), self.failed)
        )
        failed = f", {len(lost)} failed" if lost else ""
        done = len(wanted - undone - lost)
        return f"{done} of {len(wanted)} networks are done{failed}, about {_words(seconds)} left"


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
