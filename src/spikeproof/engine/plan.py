"""From a table to its tasks. The graph grows as it is walked: a calibrated row is known once its candidates are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

from spikeproof.audit import AuditConfig
from spikeproof.defenses import Defense
from spikeproof.engine.calibration import Choice, choose, tasks_of
from spikeproof.engine.store import Store
from spikeproof.engine.task import AuditTask, Task, nameless, of_tables
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model, draws_at_random
from spikeproof.names import unknown as unknown_name
from spikeproof.recipes import Recipe
from spikeproof.tables import Calibration, Column, Row, Scale, Table, at_scale, audit_sizes
from spikeproof.threat import parse_eps

# Attacks see batches of one size everywhere, so that no verdict hangs on how much memory a machine has free.
_BATCH = 250


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What is to be done for a table at a scale: its rows, or some of them, with every seed.

    Args:
        rows, seeds: each row with each seed.
        samples: how many test images the columns and the worst case are taken on; None is all of them.
        share: I and N: only every N-th task from the I-th on is done, of a table without calibrations.
    """

    table: Table
    scale: Scale
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    samples: tuple[int | None, int | None]
    share: tuple[int, int] = (0, 1)

    @classmethod
    def of(
        cls,
        table: Table,
        scale: Scale = "full",
        *,
        seeds: Sequence[int],
        only: Collection[str] = (),
        share: tuple[int, int] = (0, 1),
    ) -> TablePlan:
        """The plan of a table's rows, or of some of them.

        Args:
            seeds: that each row is trained with.
            only: the names of the rows; all of them by default.
            share: see the class.

        Raises:
            SpikeproofError: a row that the table does not have, or seeds that are none or given twice.
        """
        known = [row.name for row in table.rows]
        if unknown := sorted(set(only) - set(known)):
            raise SpikeproofError(unknown_name("row", unknown[0], known))
        if not seeds or len(set(seeds)) < len(seeds):
            raise SpikeproofError("--seeds needs one number at least, and each once.")
        if min(seeds) < 0:
            raise SpikeproofError(f"A seed is a whole number from 0 on, not {min(seeds)}.")
        rows = tuple(row for row in table.rows if not only or row.name in only)
        return cls(table, scale, tuple(seeds), rows, audit_sizes(scale), share)

    def tasks(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """Every task that is known now; more are known when these are done.

        Args:
            store: that calibrations are read from.
            failed: tasks that are not tried again.
        """
        tasks: dict[Task, None] = {}
        for calibration in self._calibrations(*self.rows):
            tasks |= dict.fromkeys(tasks_of(calibration, self.scale))
        for seed in self.seeds:
            for row in self.rows:
                if self.choices(store, row, failed) is None:
                    continue
                task = self.task(store, row, seed, failed)
                for recipe in task.needs():
                    tasks[of_tables(f"substitute, {recipe.model.name} on {recipe.data.name}", recipe)] = None
                tasks[task] = None
        first, step = self.share
        return list(tasks)[first::step]

    def task(self, store: Store, row: Row, seed: int, failed: Collection[Task] = ()) -> Task:
        """The task of one row with one seed.

        Args:
            store, failed: see :meth:`tasks`. The row's calibrations must be decided in it.
        """
        chosen = self.choices(store, row, failed)
        assert chosen is not None
        return self._task(row, seed, [choice.calibration.candidates[choice.index] for choice in chosen])

    def waiting(self, store: Store, failed: Collection[Task] = ()) -> list[Task]:
        """For every row that waits for a calibration, and every seed, a task that costs about what its own will.

        Args:
            store, failed: see :meth:`tasks`.
        """
        return [
            self._task(row, seed, [each.candidates[0] for each in self._calibrations(row)])
            for row in self.rows
            for seed in self.seeds
            if self.choices(store, row, failed) is None
        ]

    def _task(self, row: Row, seed: int, defenses: Sequence[Defense]) -> Task:
        scaled = at_scale(row.recipe.having(*defenses), self.scale)
        recipe = dataclasses.replace(scaled, train=dataclasses.replace(scaled.train, seed=seed))
        label = label_of(row, seed)
        if not self.table.columns:
            return Task(label, recipe, (AuditTask(recipe.audit),))
        substitute = None if row.substitute is None else nameless(at_scale(row.substitute, self.scale))
        audits = self.column_audits(row, recipe, substitute)
        measures = tuple(dict.fromkeys(column.measure for column in self.table.columns if column.measure is not None))
        return of_tables(label, recipe, (*audits, self.worst_audit(row, recipe)), measures)

    def choices(self, store: Store, row: Row, failed: Collection[Task] = ()) -> list[Choice] | None:
        """What the row's calibrations chose; None while one of them is undecided.

        Args:
            store, failed: see :meth:`tasks`.
        """
        choices = [choose(store, calibration, self.scale, failed) for calibration in self._calibrations(row)]
        decided = [choice for choice in choices if choice is not None]
        return decided if len(decided) == len(choices) else None

    def failed_calibration(self, row: Row, failed: Mapping[Task, str]) -> str:
        """Why a row has no setting, where a calibration of it failed.

        Args:
            failed: tasks, and why.
        """
        for calibration in self._calibrations(row):
            for task in tasks_of(calibration, self.scale):
                if task in failed:
                    return f"{task.label} failed: {failed[task]}"
        return "a calibration that it needs is not done"

    def column_audits(self, row: Row, recipe: Recipe, substitute: Recipe | None) -> list[AuditTask]:
        """Of a row's network, one audit for all columns of one radius, black box apart: in the order of ``places``.

        Args:
            recipe: the row's, at scale; a random network is averaged over draws.
            substitute: that black-box columns craft on.
        """
        audits = []
        for eps, black_box in self.places():
            here = [c for c in self.table.columns if c.measure is None and self.place(c) == (eps, black_box)]
            trials = [column.trial for column in here if column.trial is not None]
            # An audit wants a trial of its own surrogate, which tells what the others are beside.
            own = ("FGSM",) if black_box or not any(column.parsed and column.parsed.rank for column in here) else ()
            config = self._audit(row, recipe, self.samples[0], eps)
            config = dataclasses.replace(
                config,
                battery=None,
                trials=own if black_box else (*own, *trials),
                transfer=tuple(trials) if black_box else config.transfer,
                per_member=True,
                diagnostics=False,
            )
            audits.append(AuditTask(config, substitute if black_box else None))
        return audits

    def worst_audit(self, row: Row, recipe: Recipe) -> AuditTask:
        """The battery that adapts, at the table's radius.

        Args:
            recipe: the row's, at scale.
        """
        config = self._audit(row, recipe, self.samples[1], self.table.audit.threat.eps)
        return AuditTask(dataclasses.replace(config, sweep_samples=50))

    def place(self, column: Column) -> tuple[float, bool]:
        """Under which audit a column is: the trial's radius, and whether it crafts on a substitute."""
        eps = self.table.audit.threat.eps if column.eps is None else column.eps
        return parse_eps(eps), column.on_substitute

    def places(self) -> list[tuple[float, bool]]:
        """The places of a task's audits for columns, in their order; the worst case's is the last."""
        return list(dict.fromkeys(self.place(column) for column in self.table.columns if column.measure is None))

    def _audit(self, row: Row, recipe: Recipe, samples: int | None, eps: float) -> AuditConfig:
        config = dataclasses.replace(self.table.audit, samples=samples, eps=eps, batch_size=_BATCH)
        if row.noise is not None:
            config = dataclasses.replace(config, noise=row.noise)
        if row.eot_iter is not None:
            return dataclasses.replace(config, eot_iter=row.eot_iter)
        # An audit gives a random network ten draws by itself: too many for a miniature.
        return (
            dataclasses.replace(config, eot_iter=4, judge_draws=10)
            if self.scale == "mini" and _random(recipe)
            else config
        )

    def _calibrations(self, *rows: Row) -> list[Calibration]:
        names = {name for row in rows for name in row.calibrated}
        return [calibration for calibration in self.table.calibrations if calibration.name in names]


def label_of(row: Row, seed: int) -> str:
    """How a row's task is called for people.

    Args:
        row: of any table.
        seed: that it is trained with.
    """
    return f"{row.group}: {row.label}, seed {seed}" if row.group else f"{row.label}, seed {seed}"


@functools.cache
def _random(recipe: Recipe) -> bool:
    """Whether the network that a recipe gives draws random numbers at inference."""
    model = create_model(**recipe.model.arguments, num_classes=10)
    for defense in recipe.defenses:
        defense.install(model)
    return draws_at_random(model.eval())
