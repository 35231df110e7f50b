"""Where results lie: every network in a run folder, and in that folder its audits, measures and facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from spikeproof.engine.keys import audit_key, measure_key, network_key
from spikeproof.engine.task import LANDSCAPE_RADIUS, MEASURED_IMAGES, AuditTask, Task
from spikeproof.recipes import Recipe, audit_folder
from spikeproof.runs import RunFolder
from spikeproof.tables import Measure


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of networks that many tables share: each lies under its content address, so nothing stale is reused.

    Args:
        root: the folder. It need not exist.

    Example:
        >>> from spikeproof.recipes import find_recipe
        >>> Store(Path("runs")).network(find_recipe("mini-cifar10-vanilla")).as_posix()
        'runs/networks/a800b291084e9110'
    """

    root: Path

    def network(self, recipe: Recipe) -> Path:
        """The run folder of the network that a recipe gives."""
        return self.root / "networks" / network_key(recipe)

    def audit(self, recipe: Recipe, audit: AuditTask) -> Path:
        """The folder of an audit of that network."""
        substitute = None if audit.substitute is None else network_key(audit.substitute)
        return self.network(recipe) / "audits" / audit_key(network_key(recipe), audit.config, substitute)

    def facts(self, recipe: Recipe) -> Path:
        """The file of what is known of a trained network beside its run: data, operations, memory."""
        return self.network(recipe) / "facts.json"

    def measure(self, recipe: Recipe, measure: Measure) -> Path:
        """The file of a measure of that network."""
        key = measure_key(network_key(recipe), measure, MEASURED_IMAGES, LANDSCAPE_RADIUS)
        return self.network(recipe) / "measures" / f"{key}.json"

    def lock(self, recipe: Recipe) -> Path:
        """The file that a process holds while it is at that network."""
        return self.root / ".locks" / self.network(recipe).name

    def refuse_others(self, tasks: Sequence[Task]) -> None:
        """Refuse folders of these tasks that hold other networks. Here none can: an address is of one network."""

    def trained(self, recipe: Recipe) -> bool:
        """Whether the network is there. Facts are written after training, so they say it where weights were removed."""
        return RunFolder(self.network(recipe)).finished or self.facts(recipe).exists()

    def done(self, task: Task) -> bool:
        """Whether everything that the task asks for is there; an audited network may have lost its weights since."""
        return (
            (bool(task.audits) or self.trained(task.recipe))
            and all((self.audit(task.recipe, audit) / "audit.json").exists() for audit in task.audits)
            and all(self.measure(task.recipe, measure).exists() for measure in task.measures)
            and (not task.facts or self.facts(task.recipe).exists())
        )


@dataclasses.dataclass(frozen=True)
class NamedStore(Store):
    """A folder in which people find each network by its row's name. Audits lie where ``spikeproof audit`` puts them.

    Args:
        root: the folder. It need not exist.
        family: of a comparison with one seed the name with which all of its rows' begin. It is left out of the
            folders' names, and so is the seed.

    Example:
        >>> NamedStore(Path("runs")).network(Recipe(name="mini-cifar10-at")).as_posix()
        'runs/mini-cifar10-at-s0'
        >>> NamedStore(Path("runs"), family="demo-digits").network(Recipe(name="demo-digits-at")).as_posix()
        'runs/at'
    """

    family: str | None = None

    def network(self, recipe: Recipe) -> Path:
        if self.family is None:
            return self.root / f"{recipe.name}-s{recipe.train.seed}"
        return self.root / recipe.name.removeprefix(f"{self.family}-")

    def audit(self, recipe: Recipe, audit: AuditTask) -> Path:
        return audit_folder(self.network(recipe), audit.config)

    def refuse_others(self, tasks: Sequence[Task]) -> None:
        """Refuse a folder of a task's name that holds a run of other settings: its numbers are of something else.

        Raises:
            SpikeproofError: there is one; it says in what the settings differ.
        """
        for task in tasks:
            run = RunFolder(self.network(task.recipe))
            if run.begun:
                run.refuse_others(task.recipe.settings())
