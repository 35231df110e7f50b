"""Who does tasks: this process, several of this machine, or a cluster's. All by the same three calls."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from spikeproof.disk import Busy
from spikeproof.engine.execute import Circumstances, execute
from spikeproof.engine.task import Task
from spikeproof.errors import SpikeproofError, said_by_the_system
from spikeproof.machine.processors import available_processors
from spikeproof.machine.threads import passive_children, use_most


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended, and why, if it failed."""

    task: Task
    status: Literal["done", "busy", "failed"]
    why: str = ""


class TaskPool(Protocol):
    """Takes tasks and says how they ended."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once."""

    def start(self, task: Task, circumstances: Circumstances) -> None:
        """Begin a task; one of the slots must be free."""

    def wait(self) -> Outcome:
        """The next task that ends; some must have been begun."""

    def stop(self) -> None:
        """End what runs, as by SIGTERM: what it has done stays, and goes on when it is asked for again."""


def attempt(task: Task, circumstances: Circumstances) -> Outcome:
    """Do a task here, and say how it ended. Only Ctrl-C and SIGTERM come out of it."""
    try:
        execute(task, circumstances)
    except Busy:
        return Outcome(task, "busy")
    except SpikeproofError as error:
        return Outcome(task, "failed", str(error))
    except OSError as error:
        return Outcome(task, "failed", f"{said_by_the_system(error)}.")
    except Exception as error:  # whatever it is, the other networks of the table go on
        traceback.print_exc()
        first = str(error).splitlines()[:1]
        return Outcome(task, "failed", ": ".join([type(error).__name__, *first]))
    return Outcome(task, "done")


class InProcess:
    """One after the other, here."""

    slots = 1

    def __init__(self) -> None:
        self._begun: list[tuple[Task, Circumstances]] = []

    def start(self, task: Task, circumstances: Circumstances) -> None:
        self._begun.append((task, circumstances))

    def wait(self) -> Outcome:
        return attempt(*self._begun.pop(0))

    def stop(self) -> None:
        self._begun.clear()


class ChildProcesses:
    """Several at once, each in a process of its own: a crash ends one task and no other.

    They share the available processors evenly, and take turns with the GPUs.
    """

    _PATIENCE = 60.0

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._running: dict[Connection, tuple[Any, Task, int]] = {}

    def start(self, task: Task, circumstances: Circumstances) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        slot = min(set(range(self.slots)) - {taken for _, _, taken in self._running.values()})
        share = max(1, min(torch.get_num_threads(), available_processors()) // self.slots)
        process = context.Process(target=_child, args=(theirs, task, circumstances, share, _gpu_of(slot)))
        with passive_children():
            process.start()
        theirs.close()
        self._running[ours] = process, task, slot

    def wait(self) -> Outcome:
        heard = wait(list(self._running))[0]
        assert isinstance(heard, Connection)
        process, task, _ = self._running.pop(heard)
        try:
            status, why = heard.recv()
        except (EOFError, OSError):
            process.join()
            return Outcome(task, "failed", f"its process ended with {process.exitcode}; see what it printed.")
        finally:
            heard.close()
        process.join()
        return Outcome(task, status, why)

    def stop(self) -> None:
        for process, _, _ in self._running.values():
            process.terminate()
        for heard, (process, _, _) in self._running.items():
            process.join(self._PATIENCE)
            process.kill()
            process.join()
            heard.close()
        self._running.clear()


def _gpu_of(slot: int) -> str | None:
    """The GPU of the process in this slot, as CUDA_VISIBLE_DEVICES has it; None where there is nothing to choose."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return visible[slot % len(visible)] if len(visible) > 1 else None


def _child(tell: Connection, task: Task, circumstances: Circumstances, share: int, gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_most(share)
    try:
        outcome = attempt(task, circumstances)
    except KeyboardInterrupt:
        return
    tell.send((outcome.status, outcome.why[:2000]))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its children; each of them sees to it, and saves the step that it is at."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ChildProcesses._PATIENCE)
    os._exit(1)


class _Resumable:
    """A job that is sent again when the cluster takes its time away, and then goes on where it was."""

    def __call__(self, task: Task, circumstances: Circumstances) -> Outcome:
        use_most()
        return attempt(task, circumstances)

    def checkpoint(self, task: Task, circumstances: Circumstances) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task, circumstances)


class Submitted:
    """As jobs of a cluster through submitit (Facebook's, an extra), which its "local" cluster runs on this machine.

    Args:
        folder: for submitit's own files, on a disk that all machines share, as the results' folder must be.
        cluster: "slurm" or "local".
        parameters: of the jobs, as submitit calls them: timeout_min (a day), slurm_partition, gpus_per_node (1 where
            this machine has any), ...

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
            gpus = int(torch.cuda.is_available())
            self._executor.update_parameters(**{"timeout_min": 1440, "gpus_per_node": gpus, **parameters})
        except (RuntimeError, TypeError, ValueError, NameError, AssertionError) as error:
            reason = str(error).splitlines()[:1] or ["it does not say why"]
            raise SpikeproofError(
                f"submitit refuses the cluster {cluster!r} or its parameters: {reason[0].rstrip('.')}."
            ) from None
        self._running: list[tuple[Any, Task]] = []

    def start(self, task: Task, circumstances: Circumstances) -> None:
        try:
            job = self._executor.submit(_Resumable(), task, circumstances)
        except RuntimeError as error:
            raise SpikeproofError(f"The job could not be sent: {str(error).splitlines()[-1].rstrip('.')}.") from None
        self._running.append((job, task))

    def wait(self) -> Outcome:
        while True:
            for index, (job, task) in enumerate(self._running):
                if job.done():
                    del self._running[index]
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
            return Outcome(task, "failed", f"its job ended without a result: {str(error).splitlines()[-1]}")
        outcome = job.result()
        assert isinstance(outcome, Outcome)
        return outcome


def make_pool(cluster: str | None, slots: int, folder: Path, parameters: dict[str, Any]) -> TaskPool:
    """The pool that the command line asks for.

    Args:
        cluster: "slurm" or "local" for submitit's jobs; None for processes of this machine.
        slots: how many tasks at once.
        folder, parameters: of the jobs, see :class:`Submitted`.

    Raises:
        SpikeproofError: whatever :class:`Submitted` refuses.
    """
    if cluster is not None:
        return Submitted(folder, cluster, slots, parameters)
    return InProcess() if slots == 1 else ChildProcesses(slots)
