"""Walk the graph: start what is ready, hear what ended, tell how far the table is; never stop for one failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from spikeproof.reproduce.estimate import correction, hours
from spikeproof.reproduce.execute import Circumstances
from spikeproof.reproduce.pools import Pool
from spikeproof.reproduce.task import Store, Task

# Seconds before a network that another process is at is asked for again.
_PATIENCE = 5.0


class Work(Protocol):
    """What is to be done, as far as it is known."""

    def tasks(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """Every task that is known now."""

    def waiting(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """For what is not known yet, tasks that cost about as much."""


def run(plan: Work, pool: Pool, around: Circumstances, *, device: str, tell: Callable[[str], None]) -> dict[Task, str]:
    """Do everything that the plan asks for and that is not done.

    Returns:
        The tasks that failed, and why.
    """
    walk = _Walk(plan, pool, around, device, tell)
    try:
        return walk.to_the_end()
    except BaseException:
        pool.stop()
        raise


class _Walk:
    def __init__(self, plan: Work, pool: Pool, around: Circumstances, device: str, tell: Callable[[str], None]) -> None:
        self.plan, self.pool, self.around, self.device, self.tell = plan, pool, around, device, tell
        self.failed: dict[Task, str] = {}
        self.running: dict[Task, float] = {}
        self.waits_until: dict[Task, float] = {}

    def to_the_end(self) -> dict[Task, str]:
        while True:
            ready = self._ready()
            for task in ready[: self.pool.slots - len(self.running)]:
                self.tell(f"{task.label}: begins")
                self.running[task] = time.monotonic()
                self.pool.start(task, self.around)
            if self.running:
                self._hear()
            elif self.waits_until:
                time.sleep(max(0.0, min(self.waits_until.values()) - time.monotonic()))
                now = time.monotonic()
                self.waits_until = {task: at for task, at in self.waits_until.items() if at > now}
            elif not ready:
                return self.failed

    def _ready(self) -> list[Task]:
        store = self.around.store
        tasks = self.plan.tasks(store, self.failed)
        keys = {task.key: task for task in self.failed}
        ready, at = [], {task.key for task in self.running}
        for task in tasks:
            if store.done(task) or task in self.failed or task.key in at or task in self.waits_until:
                continue
            missing = {need for need in task.needs() if not (store.root / "networks" / need / "facts.json").exists()}
            lost = [keys[need] for need in missing if need in keys]
            if lost:
                self.failed[task] = f"it needs {lost[0].label}, which failed"
            elif not missing:
                ready.append(task)
                at.add(task.key)  # two tasks of one network: one after the other
        return ready

    def _hear(self) -> None:
        outcome = self.pool.wait()
        seconds = time.monotonic() - self.running.pop(outcome.task)
        if outcome.status == "busy":
            self.waits_until[outcome.task] = time.monotonic() + _PATIENCE
            return
        if outcome.status == "failed":
            self.failed[outcome.task] = outcome.why
            self.tell(f"{outcome.task.label}: failed after {_words(seconds)}: {outcome.why}")
        else:
            self.tell(f"{outcome.task.label}: done in {_words(seconds)}; {self._left()}")
        now = time.monotonic()
        self.waits_until = {task: at for task, at in self.waits_until.items() if at > now}

    def _left(self) -> str:
        store = self.around.store
        tasks = self.plan.tasks(store, self.failed)
        todo = [task for task in tasks if task not in self.failed and not store.done(task)]
        waiting = self.plan.waiting(store, self.failed)
        factor = correction(tasks, store, self.device)
        seconds = sum(hours([*todo, *waiting], store, self.device, factor)) * 3600 / self.pool.slots
        done, of = len(tasks) - len(todo), len(tasks) + len(waiting)
        return f"{done} of {of} networks are done, about {_words(seconds)} left"


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
