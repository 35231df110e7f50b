"""The published training curve of SNN-RAT's WRN16, rerun and compared epoch by epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.reproduce.execute import Circumstances
from spikeproof.reproduce.plan import seeded
from spikeproof.reproduce.pools import Pool
from spikeproof.reproduce.reproduce import to_stderr
from spikeproof.reproduce.runner import run
from spikeproof.reproduce.task import Store, Task
from spikeproof.runs import RunFolder
from spikeproof.tables import RAT_CURVE, Scale, at_scale, compare_curve

CURVE = "snn-rat-curve"


@dataclasses.dataclass(frozen=True)
class CurvePlan:
    """One network, trained as SNN-RAT's published one."""

    scale: Scale
    seed: int

    @property
    def task(self) -> Task:
        return Task(f"SNN-RAT's curve, seed {self.seed}", seeded(at_scale(RAT_CURVE, self.scale), self.seed))

    def tasks(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        return [self.task]

    def waiting(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        return []


def reproduce_curve(plan: CurvePlan, pool: Pool, circumstances: Circumstances, *, device: str, results: Path) -> str:
    """Train the network and compare its curve with the published one, as Markdown, also in a file of ``results``.

    Raises:
        SpikeproofError: training failed.
    """
    failed = run(plan, pool, circumstances, device=device, tell=to_stderr)
    if failed:
        raise SpikeproofError(f"{CURVE}: {failed[plan.task]}")
    text = compare_curve(RunFolder(circumstances.store.network(plan.task.recipe)).metrics(), plan.scale)
    write_atomically(results / f"{CURVE}-{plan.scale}" / f"s{plan.seed}.md", lambda path: path.write_text(text + "\n"))
    return text
