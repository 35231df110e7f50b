"""Result files: one row of one table with one seed, and what the rows of a table share; and their JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonDict

from spikeproof.counts import wilson
from spikeproof.records.record import FileRecord, by_todays_names
from spikeproof.records.values import (
    AboveZero,
    Eps,
    Fingerprint,
    FromOne,
    FromTwo,
    FromZero,
    Hash,
    Line,
    Named,
    Names,
    Percent,
    Real,
    Share,
    Slug,
    Slugs,
    Whole,
    contradiction,
    whole,
)

SCHEMA: Final = 2
_WITH_FORMER_NAMES = 1
Scale = Literal["mini", "short", "full"]
SCALES: tuple[Scale, ...] = get_args(Scale)
_Value = TypeVar("_Value")


_CLOSED = Field(json_schema_extra={"additionalProperties": False})  # no names of another pattern


def _by_name(values: Mapping[str, _Value]) -> dict[str, _Value]:
    return {name: values[name] for name in sorted(values)}  # equal rows have equal bytes


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")  # the interval is computed where it is left out


class _ResultRecord(FileRecord):
    model_config = ConfigDict(extra="forbid")


class Count(_ResultRecord):
    """An accuracy as a count: ``correct`` of ``samples``.

    Attributes:
        interval: its 95 % score interval (Wilson 1927) in percent, to two decimals. It follows from the count, and a
            file may leave it out.
    """

    correct: Whole
    samples: FromOne
    interval: tuple[Percent, ...] = Field(default=(), json_schema_extra=_without_default)

    @property
    def percent(self) -> float:
        """100 correct / samples."""
        return 100 * self.correct / self.samples

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.correct > self.samples:
            raise contradiction("correct", f"at most the {self.samples} samples, not {self.correct}")
        right = tuple(round(100 * bound, 2) for bound in wilson(self.correct, self.samples))
        if "interval" in self.model_fields_set and self.interval != right:
            expected = f"{list(right)} for {self.correct} of {self.samples}, or left out, not {list(self.interval)}"
            raise contradiction("interval", expected)
        object.__setattr__(self, "interval", right)
        return self


class Cell(_ResultRecord):
    """One cell: ours, as a count or (a measure) a number, and what the paper printed (percent, or the measure)."""

    count: Count | None
    value: Real | None
    published: Real | None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.count is not None and self.value is not None:
            raise contradiction("value", "null beside a count")
        if self.count is not None and self.published is not None and not 0 <= self.published <= 100:
            raise contradiction("published", f"a percentage as the count is, not {self.published:g}")
        return self


class Worst(_ResultRecord):
    """Right under every attack of a battery, on the first ``count.samples`` test images; with its protocol attack.

    Attributes:
        no_number: why the count says nothing of robustness; "" where it does.
    """

    battery: Named
    count: Count
    protocol_trial: Named
    protocol: Count
    flags: tuple[Named, ...]
    no_number: Line = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        worst, protocol = self.count, self.protocol
        if protocol.samples != worst.samples:
            raise contradiction("protocol.samples", f"the worst case's {worst.samples}, not {protocol.samples}")
        if worst.correct > protocol.correct:
            raise contradiction("count.correct", f"at most the protocol {protocol.correct}, not {worst.correct}")
        return self


class _OfATable(_ResultRecord):
    version: Annotated[Literal[2], BeforeValidator(whole)] = Field(alias="schema")
    table: Slug

    @model_validator(mode="before")
    @classmethod
    def _by_todays_names(cls, value: Any) -> Any:
        return by_todays_names(value, "schema", _WITH_FORMER_NAMES, SCHEMA)


class ResultRow(_OfATable):
    """One row of a table with one seed, with all that is needed to believe or repeat it.

    Attributes:
        table, row, scale: which cell line of which table; scale is mini, short or full.
        label, group: as printed.
        data_note: what differs from the published data set, such as "JPEG-recompressed"; empty if nothing.
        training_steps: of the optimiser.
        recipe_hash: of everything that decides the weights (data, network, defenses, training, seed).
        eps: of the Linf ball of the worst case and of every column that does not say another.
        clean, protocol: on the test images of the table; protocol_attack is the trial's name.
        worst: the worst case, or None where no battery was run.
        cells: by the label of the column.
        synaptic_operations: additions caused by spikes, mean per image over all steps (see insight/energy.py).
        training_seconds, audit_seconds: as measured on ``device``.
        peak_memory_bytes: of the training on CUDA, else None.
        images: the fingerprint of the images that the worst case is of; "", as in older files, where nobody knows. Only
            rows of the same images are ranked.
    """

    model_config = ConfigDict(title="spikeproof result: one row of one table with one seed")

    row: Slug
    scale: Scale
    label: Named
    group: Line
    dataset: Named
    data_note: Line
    classes: FromTwo
    train_images: FromOne
    training_steps: Whole
    network: Named
    width: AboveZero
    num_steps: FromOne
    coding: Named
    defenses: tuple[Line, ...]
    recipe_hash: Hash
    code_version: Named
    torch_version: Named
    seed: Whole
    device: Named
    threads: FromOne
    training_precision: Named
    crafting_precision: Named
    training_seconds: FromZero
    audit_seconds: FromZero
    peak_memory_bytes: Whole | None
    eps: Eps
    clean: Count
    protocol_attack: Named
    protocol: Count
    worst: Worst | None
    cells: Annotated[dict[Line, Cell], AfterValidator(_by_name), _CLOSED]
    synaptic_operations: FromZero | None
    command: Named
    submitted_by: Line
    images: Fingerprint = ""

    @property
    def place(self) -> tuple[str, str]:
        """Where it lies in a folder of results: the names of its folder and of its file."""
        return f"{self.table}-{self.scale}", f"{self.row}-s{self.seed}.json"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.worst is not None and self.worst.count.samples > self.clean.samples:
            expected = f"at most clean's {self.clean.samples}, not {self.worst.count.samples}"
            raise contradiction("worst.count.samples", expected)
        return self


class Verdict(_ResultRecord):
    """Whether a claim of the paper's holds here: by how many points, and how probable such a difference is by chance.

    Attributes:
        difference: higher minus lower row, in points, pooled over the seeds; None where a row is missing.
        p: of an exact McNemar test on the same images; None where a row is missing.
        untestable: why the rows say nothing of the claim, though they were run; empty where they do.
    """

    text: Named
    column: Named
    difference: Real | None
    p: Share | None
    untestable: Line = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.difference is None and self.p is not None:
            raise contradiction("p", "null, as there is no difference")
        return self


class TableHeader(_OfATable):
    """What of a table does not belong to one row.

    Attributes:
        title: with scale, network, data: "MPD-SGR Table 1 at scale mini (...)".
        order: row names in the table's order; missing: row name -> why it has no result.
        choices: what was calibrated, a sentence each.
    """

    scale: Scale
    title: Named
    source: Named
    note: Line
    columns: Names
    order: Slugs
    missing: Annotated[dict[Slug, Line], AfterValidator(_by_name), _CLOSED]
    choices: tuple[Line, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def place(self) -> tuple[str, str]:
        """Where it lies in a folder of results: the names of its folder and of its file."""
        return f"{self.table}-{self.scale}", "table.json"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name in self.missing:
            if name not in self.order:
                raise contradiction(f"missing.{name}", "a row that 'order' names")
        for i, verdict in enumerate(self.verdicts):
            if verdict.column not in self.columns:
                raise contradiction(f"verdicts[{i}].column", f"a column of the table, not {verdict.column!r}")
        return self


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def row_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a row's file. That of a table's header is its ``$defs/TableHeader``.

    It has all rules about single fields. Reading checks more, such as that ``correct`` is at most ``samples``.

    Example:
        >>> row_schema()["properties"]["scale"]
        {'enum': ['mini', 'short', 'full'], 'type': 'string'}
    """
    row, header = (kind.model_json_schema(schema_generator=_Untitled) for kind in (ResultRow, TableHeader))
    defs = {**row.pop("$defs"), **header.pop("$defs"), "TableHeader": header}
    return {"$schema": GenerateJsonSchema.schema_dialect, **row, "$defs": dict(sorted(defs.items()))}
