"""A task: one network, to be trained, and what is then to be found out about it. Plain data, so it can be sent."""

from __future__ import annotations

import dataclasses

from spikeproof.audit import AuditConfig
from spikeproof.engine.keys import network_key
from spikeproof.recipes import Recipe
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

    Attributes:
        facts: whether a result row will ask for the network's data, operations and memory.
    """

    label: str
    recipe: Recipe
    audits: tuple[AuditTask, ...] = ()
    measures: tuple[Measure, ...] = ()
    facts: bool = False

    @property
    def key(self) -> str:
        """The address of the network's weights."""
        return network_key(self.recipe)

    def needs(self) -> list[Recipe]:
        """Other networks that must be trained before."""
        return [audit.substitute for audit in self.audits if audit.substitute is not None]


def of_tables(
    label: str, recipe: Recipe, audits: tuple[AuditTask, ...] = (), measures: tuple[Measure, ...] = ()
) -> Task:
    """The task of a network that several published tables may share, and whose facts their rows ask for.

    Args:
        label, recipe, audits, measures: see :class:`Task`.
    """
    return Task(label, nameless(recipe), audits, measures, facts=True)


def nameless(recipe: Recipe) -> Recipe:
    """The recipe with a name and an audit that are the same for every table that has its network.

    Example:
        >>> nameless(Recipe(name="mine")).name
        'vgg11-cifar10'
    """
    return dataclasses.replace(recipe, name=f"{recipe.model.name}-{recipe.data.name}", audit=AuditConfig())
