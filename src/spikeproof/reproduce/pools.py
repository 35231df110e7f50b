"""Who does tasks: this process, several of this machine, or a cluster's. All by the same three calls."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from spikeproof.errors import SpikeproofError
from spikeproof.reproduce.execute import Busy, Circumstances, execute
from spikeproof.reproduce.task import Task


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended, and why, if it failed."""

    task: Task
    status: Literal["done", "busy", "failed"]
    why: str = ""


class Pool(Protocol):
    """Takes tasks and says how they ended."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once."""

    def start(self, task: Task, around: Circumstances) -> None:
        """Begin a task; one of the slots must be free."""

    def wait(self) -> Outcome:
        """The next task that ends; some must have been begun."""

    def stop(self) -> None:
        """End what runs, as by SIGTERM: what it has done stays, and goes on when it is asked for again."""


def attempt(task: Task, around: Circumstances) -> Outcome:
    """Do a task, and say how it ended."""
    try:
        execute(task, around)
    except Busy:
        return Outcome(task, "busy")
    except (SpikeproofError, OSError) as error:
        return Outcome(task, "failed", str(error))
    return Outcome(task, "done")


class InProcess:
    """One after the other, here."""

    slots = 1

    def __init__(self) -> None:
        self._begun: list[tuple[Task, Circumstances]] = []

    def start(self, task: Task, around: Circumstances) -> None:
        self._begun.append((task, around))

    def wait(self) -> Outcome:
        return attempt(*self._begun.pop(0))

    def stop(self) -> None:
        self._begun.clear()


class Processes:
    """Several at once, each in a process of its own with its share of the cores: a crash ends one task and no other."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._running: dict[Any, tuple[Any, Connection, Task]] = {}

    def start(self, task: Task, around: Circumstances) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        threads = max(1, len(os.sched_getaffinity(0)) // self.slots)
        process = context.Process(target=_child, args=(theirs, task, around, threads))
        process.start()
        theirs.close()
        self._running[process.sentinel] = process, ours, task

    def wait(self) -> Outcome:
        ended = wait(list(self._running))[0]
        process, heard, task = self._running.pop(ended)
        process.join()
        try:
            status, why = heard.recv()
        except EOFError:
            return Outcome(task, "failed", f"its process ended with {process.exitcode}; see what it printed.")
        finally:
            heard.close()
        return Outcome(task, status, why)

    def stop(self) -> None:
        for process, _, _ in self._running.values():
            process.terminate()
        for process, heard, _ in self._running.values():
            process.join()
            heard.close()
        self._running.clear()


def _child(tell: Connection, task: Task, around: Circumstances, threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        outcome = attempt(task, around)
    except KeyboardInterrupt:
        return
    tell.send((outcome.status, outcome.why))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its children; each of them sees to it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class Submitted:
    """As jobs of a cluster through submitit (Facebook's, an extra), which its "local" cluster runs on this machine.

    Args:
        folder: for submitit's own files, on a disk that all machines share, as the results' folder must be.
        cluster: "slurm" or "local".
        parameters: of the jobs, as submitit calls them: timeout_min, slurm_partition, gpus_per_node, ...

    Raises:
        SpikeproofError: submitit is not installed, or refuses cluster or parameters; or several processes a job.
    """

    _POLL = 0.5

    def __init__(self, folder: Path, cluster: str, slots: int, parameters: dict[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise SpikeproofError(
                f"The cluster {cluster!r} needs submitit; install it with pip install 'spikeproof[cluster]'."
            ) from None
        if any(name.endswith(("tasks_per_node", "nodes")) and value != 1 for name, value in parameters.items()):
            raise SpikeproofError("A job does one network in one process; leave tasks_per_node and nodes at 1.")
        self.slots = slots
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**parameters)
        except (RuntimeError, TypeError, ValueError, NameError) as error:
            raise SpikeproofError(f"submitit refuses the cluster {cluster!r} or its parameters: {error}.") from None
        self._running: list[tuple[Any, Task]] = []

    def start(self, task: Task, around: Circumstances) -> None:
        self._running.append((self._executor.submit(attempt, task, around), task))

    def wait(self) -> Outcome:
        while True:
            for place, (job, task) in enumerate(self._running):
                if job.done():
                    del self._running[place]
                    return self._outcome(job, task)
            time.sleep(self._POLL)

    def stop(self) -> None:
        for job, _ in self._running:
            job.cancel()
        self._running.clear()

    @staticmethod
    def _outcome(job: Any, task: Task) -> Outcome:
        error = job.exception()
        if error is not None:
            return Outcome(task, "failed", f"its job {job.job_id} ended without a result ({error}).")
        found = job.result()
        assert isinstance(found, Outcome)
        return found


def make_pool(cluster: str | None, slots: int, folder: Path, parameters: dict[str, Any]) -> Pool:
    """The pool that the command line asks for."""
    if cluster is not None:
        return Submitted(folder, cluster, slots, parameters)
    made: Callable[[], Pool] = InProcess if slots == 1 else lambda: Processes(slots)
    return made()
