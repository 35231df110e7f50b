"""Made-up rows and a header of a table, to be changed by the tests."""

from __future__ import annotations

import zlib
from typing import Any

from spikeproof.results import SCHEMA, Cell, Count, ResultRow, TableHeader, Verdict, Worst


def count(correct: int, samples: int = 200) -> Count:
    return Count(correct=correct, samples=samples)


def cell(correct: int, published: float | None = None) -> Cell:
    return Cell(count=count(correct), value=None, published=published)


def make_worst(correct: int = 50, protocol: int = 80, samples: int = 100, **changes: Any) -> Worst:
    held = Worst(
        battery="reliable",
        count=count(correct, samples),
        protocol_trial="PGD-20",
        protocol=count(protocol, samples),
        flags=(),
    )
    return held.model_copy(update=changes)


def make_row(row: str = "vanilla", **changes: Any) -> ResultRow:
    held = ResultRow(
        schema=SCHEMA,
        table="toy-table1",
        row=row,
        scale="mini",
        label="Vanilla",
        group="CIFAR-10, no AT",
        dataset="cifar10",
        data_note="JPEG-recompressed",
        classes=3,
        train_images=2000,
        training_steps=620,
        network="vgg11",
        width=0.125,
        num_steps=4,
        coding="Direct()",
        defenses=(),
        recipe_hash=f"{zlib.crc32(row.encode()):016x}",
        code_version="0.4.0",
        torch_version="2.11.0",
        seed=0,
        device="cpu",
        threads=1,
        training_precision="fp32",
        crafting_precision="fp32",
        training_seconds=61.5,
        audit_seconds=30.0,
        peak_memory_bytes=None,
        eps=8 / 255,
        clean=count(180),
        protocol_attack="PGD-7",
        protocol=count(90),
        worst=make_worst(),
        cells={"Clean": cell(180, 93.2), "PGD-7": cell(90, 0.05)},
        synaptic_operations=1_234_567.0,
        command="spikeproof reproduce toy-table1 --scale mini --rows vanilla --seeds 0",
        submitted_by="spikeproof",
    )
    return held.model_copy(update=changes)


def make_header(**changes: Any) -> TableHeader:
    held = TableHeader(
        schema=SCHEMA,
        table="toy-table1",
        scale="mini",
        title="Toy Table 1, scale mini",
        source="Doe and Roe, 2026, Table 1",
        note="The optimiser is ours.",
        columns=("Clean", "PGD-7", "Ω"),
        order=("vanilla", "at", "at-sgr"),
        missing={"at-sgr": "its training diverged"},
        choices=("eta: 0.5, which costs 1.2 points.",),
        verdicts=(
            Verdict(text="AT is above Vanilla", column="PGD-7", difference=5.2, p=0.03),
            Verdict(text="AT + SGR is above AT", column="PGD-7", difference=None, p=None),
        ),
    )
    return held.model_copy(update=changes)
