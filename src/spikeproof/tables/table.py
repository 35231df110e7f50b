"""A table as plain Python: its rows are recipes, and beside a published table's cells stands what the paper printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from spikeproof.audit import AuditConfig, Trial, make_trial
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import Recipe
from spikeproof.threat import Eps

Measure = Literal["proximal share", "landscape roughness"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """What a column shows: accuracy under a trial, accuracy on the clean images (no trial), or a measure.

    Args:
        label: as printed; published numbers are found by it.
        trial: as in a battery, such as "PGD-7" or "FGSM@RGA"; None for the clean images.
        eps: of the trial; None for the table's.
        on_substitute: craft on the row's substitute network and judge on the row's own (black box).
        measure: a number about the network instead of an accuracy.

    Attributes:
        parsed: the trial that its text describes.
        trial_name: under which name an audit has the column's accuracy.

    Raises:
        SpikeproofError: a text that is no trial, or a trial that cannot craft on a substitute.
    """

    label: str
    trial: str | None = None
    eps: Eps | None = None
    on_substitute: bool = False
    measure: Measure | None = None
    parsed: Trial | None = dataclasses.field(init=False, repr=False, compare=False)
    trial_name: str = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parsed = None if self.trial is None else make_trial(self.trial)
        run = parsed.crafted_on(()) if parsed is not None and self.on_substitute else parsed
        object.__setattr__(self, "parsed", parsed)
        object.__setattr__(self, "trial_name", "clean" if run is None else run.name)


def accuracies(trials: Mapping[str, str]) -> tuple[Column, ...]:
    """A column of the clean images, and one for each trial.

    Args:
        trials: as in a battery, by the labels as printed.

    Example:
        >>> [column.trial_name for column in accuracies({"FGSM": "FGSM", "PGD": "PGD-7"})]
        ['clean', 'FGSM', 'PGD-7']
    """
    return (Column(label="Clean"), *(Column(label=label, trial=trial) for label, trial in trials.items()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One network of a table.

    Args:
        name: unique in its table, lower case with dashes; part of file names.
        label: as printed.
        group: the heading that it stands under, such as "CIFAR-10, adversarial training".
        recipe: at full scale, every field set; its name and its audit are used by a comparison alone.
        published: the paper's numbers in percent (measures as they are) by column; a cell that it does not have, or
            that cannot be read (a figure), is left out.
        calibrated: names of the table's calibrations, whose winners take the places of this row's defenses.
        substitute: the network that black-box columns craft on.
        noise: the firing noise under audit, on or off; None as the recipe leaves it. Rows that differ in it alone, or
            in ``eot_iter``, share a network.
        eot_iter: forwards that each gradient is averaged over; None for the audit's own number.
    """

    name: str
    label: str
    group: str
    recipe: Recipe
    published: Mapping[str, float]
    calibrated: tuple[str, ...] = ()
    substitute: Recipe | None = None
    noise: bool | None = None
    eot_iter: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """A setting that no paper states, chosen on validation images by what it costs in clean accuracy.

    Each candidate is trained in the place of ``recipe``'s defense of its kind. The one whose validation accuracy comes
    closest to ``reference``'s less ``drop`` wins, the first of equals: so it pays what the paper's method paid, at any
    scale and on any data.

    Args:
        drop: percentage points by which the published clean accuracy is below the published reference's.
        source: where both numbers stand.
    """

    name: str
    candidates: tuple[Defense, ...]
    recipe: Recipe
    reference: Recipe
    drop: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper's numbers say of two rows: in ``column``, row ``higher`` is above row ``lower`` (row names)."""

    text: str
    column: str
    higher: str
    lower: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A published table or figure; or a comparison, which has no columns: each row is audited as its recipe asks.

    Args:
        name: of the command, such as "mpd-sgr-table1".
        title: as printed, without the scale.
        source: authors, year, venue, number of the table.
        audit: radius and precision of the columns' trials; its trials, battery and samples are not used.
        protocol: the column that stands for the paper's protocol in the leaderboard.
        note: what a reader must know: settings that are ours, what the paper leaves open.

    Raises:
        SpikeproofError: names that occur twice, or that refer to nothing.
    """

    name: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    protocol: str
    calibrations: tuple[Calibration, ...] = ()
    claims: tuple[Claim, ...] = ()
    audit: AuditConfig = AuditConfig()
    note: str = ""

    def __post_init__(self) -> None:
        labels, names = [column.label for column in self.columns], [row.name for row in self.rows]
        known = {each.name for each in self.calibrations}
        referred = {
            "column": {
                *([self.protocol] if self.columns else []),
                *(claim.column for claim in self.claims),
                *(label for row in self.rows for label in row.published),
            },
            "row": {end for claim in self.claims for end in (claim.higher, claim.lower)},
            "calibration": {name for row in self.rows for name in row.calibrated},
        }
        named = {"column": labels, "row": names, "calibration": sorted(known)}
        for kind, every in named.items():
            if len(set(every)) < len(every):
                raise SpikeproofError(f"The table {self.name} names a {kind} twice: {every}.")
            if unknown := referred[kind] - set(every):
                raise SpikeproofError(f"The table {self.name} refers to a {kind} that it lacks: {sorted(unknown)}.")
        if any(column.on_substitute for column in self.columns) and any(row.substitute is None for row in self.rows):
            raise SpikeproofError(f"The table {self.name} has a black-box column and a row without a substitute.")


def comparison(name: str, recipes: Sequence[Recipe]) -> Table:
    """A table without published numbers: a row for each recipe, under the recipe's own name.

    Args:
        name: of the table.
        recipes: as they are to be trained and audited; a plan sets the seed.

    Raises:
        SpikeproofError: two recipes of one name.

    Example:
        >>> [row.label for row in comparison("mine", [Recipe(name="first"), Recipe(name="second")]).rows]
        ['first', 'second']
    """
    return Table(
        name=name,
        title=name,
        source="",
        columns=(),
        rows=tuple(Row(name=each.name, label=each.name, group="", recipe=each, published={}) for each in recipes),
        protocol="",
    )
