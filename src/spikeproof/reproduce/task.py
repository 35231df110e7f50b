"""A task: one network, to be trained, and what is then to be found out about it. Plain data, so it can be sent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from spikeproof.audit import AuditConfig
from spikeproof.recipes import Recipe
from spikeproof.reproduce.keys import audit_key, measure_key, network_key
from spikeproof.tables import Measure

# Images on which a network is measured, and the radius of its loss landscape.
MEASURED_IMAGES, LANDSCAPE_RADIUS = 100, 8 / 255


@dataclasses.dataclass(frozen=True)
class AuditTask:
    """An audit, and the network that black-box trials craft on."""

    config: AuditConfig
    substitute: Recipe | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """One network of a table: its recipe at scale and with its seed, the audits and measures that the table asks for.

    ``label`` is for people; two tasks of one network may have different ones.
    """

    label: str
    recipe: Recipe
    audits: tuple[AuditTask, ...] = ()
    measures: tuple[Measure, ...] = ()

    @property
    def key(self) -> str:
        return network_key(self.recipe)

    def needs(self) -> list[Recipe]:
        """Other networks that must be trained before."""
        return [audit.substitute for audit in self.audits if audit.substitute is not None]


@dataclasses.dataclass(frozen=True)
class Store:
    """Where results lie: networks under their content addresses, and in each what was found out about it."""

    root: Path

    def network(self, recipe: Recipe) -> Path:
        return self.root / "networks" / network_key(recipe)

    def facts(self, recipe: Recipe) -> Path:
        """What is known of a trained network beside its run folder: data, operations, memory."""
        return self.network(recipe) / "facts.json"

    def audit(self, recipe: Recipe, audit: AuditTask) -> Path:
        substitute = None if audit.substitute is None else network_key(audit.substitute)
        return self.network(recipe) / "audits" / audit_key(network_key(recipe), audit.config, substitute)

    def measure(self, recipe: Recipe, measure: Measure) -> Path:
        key = measure_key(network_key(recipe), measure, MEASURED_IMAGES, LANDSCAPE_RADIUS)
        return self.network(recipe) / "measures" / f"{key}.json"

    def lock(self, recipe: Recipe) -> Path:
        return self.root / "locks" / network_key(recipe)

    def trained(self, recipe: Recipe) -> bool:
        return self.facts(recipe).exists()

    def done(self, task: Task) -> bool:
        """Whether everything that the task asks for is there."""
        return (
            self.trained(task.recipe)
            and all((self.audit(task.recipe, audit) / "audit.json").exists() for audit in task.audits)
            and all(self.measure(task.recipe, measure).exists() for measure in task.measures)
        )
