"""Walk the graph: start what is ready, hear what ended, tell how far the table is; never stop for one failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from spikeproof.errors import SpikeproofError
from spikeproof.reproduce.estimate import correction, hours
from spikeproof.reproduce.execute import Circumstances, is_busy
from spikeproof.reproduce.keys import network_key
from spikeproof.reproduce.pools import Pool
from spikeproof.reproduce.task import Store, Task

# Seconds before it is looked again whether other processes are done with their networks.
_PATIENCE = 10.0


class Work(Protocol):
    """What is to be done, as far as it is known."""

    def tasks(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """Every task that is known now."""

    def waiting(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """For what is not known yet, tasks that cost about as much."""


def run(
    plan: Work, pool: Pool, circumstances: Circumstances, *, device: str, tell: Callable[[str], None]
) -> dict[Task, str]:
    """Do everything that the plan asks for and that is not done.

    Returns:
        The tasks that failed, and why.
    """
    walk = _Walk(plan, pool, circumstances, device, tell)
    try:
        return walk.to_the_end()
    except BaseException:
        pool.stop()
        raise


class _Walk:
    def __init__(
        self, plan: Work, pool: Pool, circumstances: Circumstances, device: str, tell: Callable[[str], None]
    ) -> None:
        self.plan, self.pool, self.circumstances, self.device, self.tell = plan, pool, circumstances, device, tell
        self.failed: dict[Task, str] = {}
        self.running: dict[Task, float] = {}
        self.elsewhere: set[Task] = set()

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
        store = self.circumstances.store
        lost = {task.key: task for task in self.failed if not store.trained(task.recipe)}
        ready, at = [], {task.key for task in self.running}
        before, self.elsewhere = self.elsewhere, set()
        for task in self.plan.tasks(store, self.failed):
            if store.done(task) or task in self.failed or task.key in at:
                continue
            needed = [task.recipe, *task.needs()]
            failed = [lost[network_key(recipe)] for recipe in needed if network_key(recipe) in lost]
            if failed:
                same = failed[0].key == task.key
                self._fail(task, self.failed[failed[0]] if same else f"it needs {failed[0].label}, which failed")
            elif all(store.trained(recipe) for recipe in task.needs()):
                at.add(task.key)  # two tasks of one network: one after the other
                if is_busy(store, task.recipe):
                    self.elsewhere.add(task)
                    if task not in before:
                        self.tell(f"{task.label}: another process is at it")
                else:
                    ready.append(task)
        return ready

    def _start(self, task: Task) -> None:
        self.tell(f"{task.label}: begins")
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
        elif outcome.status == "done":
            self.tell(f"{outcome.task.label}: done in {_words(seconds)}; {self._left()}")

    def _fail(self, task: Task, why: str) -> None:
        self.failed[task] = why
        self.tell(f"{task.label}: failed: {why}")

    def _left(self) -> str:
        store = self.circumstances.store
        tasks = self.plan.tasks(store, self.failed)
        todo = [task for task in tasks if task not in self.failed and not store.done(task)]
        waiting = self.plan.waiting(store, self.failed)
        factor = correction(tasks, store, self.device)
        seconds = sum(hours([*todo, *waiting], store, self.device, factor)) * 3600 / self.pool.slots
        wanted = {task.key for task in (*tasks, *waiting)}
        undone = {task.key for task in (*todo, *waiting)}
        lost = {task.key for task in self.failed}
        failed = f", {len(lost)} failed" if lost else ""
        done = len(wanted - undone - lost)
        return f"{done} of {len(wanted)} networks are done{failed}, about {_words(seconds)} left"


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
