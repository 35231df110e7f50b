"""A result as a file: one row of one table with one seed, with all that is needed to believe or repeat it."""

from __future__ import annotations

import dataclasses

SCHEMA = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """An accuracy as a count: ``correct`` of ``samples``."""

    correct: int
    samples: int

    @property
    def percent(self) -> float:
        return 100 * self.correct / self.samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: ours, as a count or (a measure) a number, and what the paper printed (percent, or the measure)."""

    count: Count | None
    value: float | None
    published: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worst:
    """Right under every attack of a battery, on the first ``count.samples`` test images; with its protocol attack.

    Attributes:
        no_number: why the count says nothing of robustness; "" where it does.
    """

    battery: str
    count: Count
    protocol_trial: str
    protocol: Count
    flags: tuple[str, ...]
    no_number: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One row of a table with one seed.

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

    schema: int
    table: str
    row: str
    scale: str
    label: str
    group: str
    dataset: str
    data_note: str
    classes: int
    train_images: int
    training_steps: int
    network: str
    width: float
    num_steps: int
    coding: str
    defenses: tuple[str, ...]
    recipe_hash: str
    code_version: str
    torch_version: str
    seed: int
    device: str
    threads: int
    training_precision: str
    crafting_precision: str
    training_seconds: float
    audit_seconds: float
    peak_memory_bytes: int | None
    eps: float
    clean: Count
    protocol_attack: str
    protocol: Count
    worst: Worst | None
    cells: dict[str, Cell]
    synaptic_operations: float | None
    command: str
    submitted_by: str
    images: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a claim of the paper's holds here: by how many points, and how probable such a difference is by chance.

    Attributes:
        difference: higher minus lower row, in points, pooled over the seeds; None where a row is missing.
        p: of an exact McNemar test on the same images; None where a row is missing.
        untestable: why the rows say nothing of the claim, though they were run; empty where they do.
    """

    text: str
    column: str
    difference: float | None
    p: float | None
    untestable: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableHeader:
    """What of a table does not belong to one row.

    Attributes:
        title: with scale, network, data: "MPD-SGR Table 1 at scale mini (...)".
        order: row names in the table's order; missing: row name -> why it has no result.
        choices: what was calibrated, a sentence each.
    """

    schema: int
    table: str
    scale: str
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    order: tuple[str, ...]
    missing: dict[str, str]
    choices: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
