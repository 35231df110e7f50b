"""From the store to results: rows, and of the paper's claims whether they hold on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow.compute as pc

from spikeproof.engine.calibration import Choice
from spikeproof.engine.execute import MEND
from spikeproof.engine.plan import TablePlan
from spikeproof.engine.store import Store
from spikeproof.engine.task import AuditTask, Task
from spikeproof.hub import without_paths
from spikeproof.records.reading import read_record
from spikeproof.records.record import in_one_sentence
from spikeproof.records.run_json import NetworkFacts, Taken
from spikeproof.report import Audit, Counted, compared, read_audit, read_outcomes
from spikeproof.results import SCHEMA, Cell, Count, ResultRow, TableHeader, Verdict, Worst
from spikeproof.runs import RunFolder
from spikeproof.tables import Claim, Column, Measure, Row, describe


def gather(
    plan: TablePlan,
    store: Store,
    failed: Mapping[Task, str],
    *,
    before: TableHeader | None,
    seeds: Collection[int],
    private: Path,
) -> tuple[TableHeader, list[ResultRow]]:
    """The header and the rows of all that is done of the plan's table, also what this plan did not ask for.

    Args:
        before: the header of an earlier call; what it says of results that lie elsewhere stays.
        seeds: other seeds that the table may have been done with.
        private: a path that no reason may name.
    """
    table = plan.table
    own = {row.name: row for row in plan.rows}
    rows_of_all = tuple(own.get(row.name, row) for row in table.rows)
    whole = dataclasses.replace(plan, rows=rows_of_all, seeds=tuple(sorted({*plan.seeds, *seeds})))
    wanted = {(row.name, seed) for row in plan.rows for seed in plan.seeds}
    rows, missing, done = [], {}, {}
    images: dict[tuple[object, ...], str] = {}
    for row in whole.rows:
        decided = whole.choices(store, row, failed) is not None
        for seed in whole.seeds:
            task = whole.task(store, row, seed, failed) if decided else None
            if task is not None and store.done(task):
                audited = _images(store, task)
                if any(images.get(asked_for, each) != each for asked_for, each in audited.items()):
                    missing[row.name] = f"it was audited on other images of {task.recipe.data.name} than the rows above"
                    continue
                images |= audited
                with in_one_sentence(f"The row {row.name}, seed {seed}", "remove its network from the store"):
                    rows.append(_row(whole, row, task, store))
                done[row.name, seed] = task
            elif (row.name, seed) in wanted:
                missing[row.name] = (
                    whole.failed_calibration(row, failed) if task is None else failed.get(task, "not done")
                )
    choices = {row.name: whole.choices(store, row, failed) or [] for row in whole.rows}
    chosen = [choice for each in choices.values() for choice in each]
    verdicts = [_verdict(whole, claim, done, store, choices) for claim in table.claims]
    with in_one_sentence(f"The header of {table.name}", "mend the table"):
        header = TableHeader(
            schema=SCHEMA,
            table=table.name,
            scale=plan.scale,
            title=f"{table.title}, scale {plan.scale}: {describe(plan.scale)}",
            source=table.source,
            note=table.note,
            columns=tuple(column.label for column in table.columns),
            order=tuple(row.name for row in table.rows),
            missing={name: _line(why, private) for name, why in missing.items()},
            choices=tuple(dict.fromkeys(choice.sentence() for choice in chosen)),
            verdicts=tuple(verdicts),
        )
    return (header if before is None else _with_what_lies_elsewhere(header, before, done)), rows


def _with_what_lies_elsewhere(
    header: TableHeader, before: TableHeader, done: Mapping[tuple[str, int], Task]
) -> TableHeader:
    """The header, and of an earlier one what rests on results that are not in this store."""
    earlier = {(verdict.text, verdict.column): verdict for verdict in before.verdicts}
    verdicts = [
        earlier.get((each.text, each.column), each) if each.difference is None else each for each in header.verdicts
    ]
    names = {choice.partition(":")[0] for choice in header.choices}
    choices = [choice for choice in before.choices if choice.partition(":")[0] not in names]
    here = {name for name, _ in done}
    missing = {name: why for name, why in before.missing.items() if name in header.order and name not in here}
    return header.model_copy(
        update={
            "verdicts": tuple(verdicts),
            "choices": (*header.choices, *choices),
            "missing": {**missing, **header.missing},
        }
    )


def _row(plan: TablePlan, row: Row, task: Task, store: Store) -> ResultRow:
    table, recipe = plan.table, task.recipe
    run, facts = RunFolder(store.network(recipe)), read_record(NetworkFacts, store.facts(recipe), MEND)
    config = run.config()
    *columns, worst = (_audit(store, task, audit) for audit in task.audits)
    cells = {column.label: _cell(plan, row, column, task, store) for column in table.columns}
    protocol = next(column for column in table.columns if column.label == table.protocol)
    clean = _named(columns[0] if columns else worst, "clean")
    counted = cells[protocol.label].count
    return ResultRow(
        schema=SCHEMA,
        table=table.name,
        row=row.name,
        scale=plan.scale,
        label=row.label,
        group=row.group,
        dataset=recipe.data.name,
        data_note=facts.data_note,
        classes=facts.classes,
        train_images=facts.train_images,
        training_steps=run.metrics()[-1]["step"],
        network=recipe.model.name,
        width=recipe.model.width,
        num_steps=recipe.model.num_steps,
        coding=str(recipe.model.coding),
        defenses=tuple(repr(defense) for defense in recipe.defenses),
        recipe_hash=task.key,
        code_version=config["spikeproof"],
        torch_version=config["torch"],
        seed=recipe.train.seed,
        device=config["device"],
        threads=config["threads"],
        training_precision=run.precision or "unknown",
        crafting_precision=worst.crafting_precision,
        training_seconds=round(sum(line["seconds"] for line in run.metrics()), 1),
        audit_seconds=round(sum(audit.seconds for audit in (*columns, worst)), 1),
        peak_memory_bytes=facts.peak_memory_bytes,
        eps=worst.eps,
        clean=clean,
        protocol_attack="clean" if protocol.parsed is None else protocol.parsed.name,
        protocol=clean if counted is None else counted,
        worst=Worst(
            battery=worst.battery,
            count=_count(worst.worst_case),
            protocol_trial=worst.protocol_trial,
            protocol=_count(worst.protocol),
            flags=tuple(flag.name for flag in worst.raised),
            no_number=worst.no_number or "",
        ),
        cells=cells,
        synaptic_operations=facts.synaptic_operations,
        command=f"spikeproof reproduce {table.name} --scale {plan.scale} --rows {row.name} --seeds {recipe.train.seed}",
        submitted_by="spikeproof",
        images=worst.images,
    )


def _cell(plan: TablePlan, row: Row, column: Column, task: Task, store: Store) -> Cell:
    published = row.published.get(column.label)
    if column.measure is not None:
        return Cell(count=None, value=_measured(store, task, column.measure), published=published)
    audit = _audit(store, task, _audit_of(plan, column, task))
    return Cell(count=_named(audit, column.trial_name), value=None, published=published)


def _images(store: Store, task: Task) -> dict[tuple[object, ...], str]:
    """The fingerprints of a task's audited images, where they are known, by what was asked for."""
    data, audits = task.recipe.data, [_audit(store, task, audit) for audit in task.audits]
    source = (data.name, data.classes, data.test_limit)
    return {(*source, audit.split, audit.samples): audit.images for audit in audits if audit.images}


def _audit(store: Store, task: Task, audit: AuditTask) -> Audit:
    return read_audit(store.audit(task.recipe, audit) / "audit.json")


def _measured(store: Store, task: Task, measure: Measure) -> float:
    return read_record(Taken, store.measure(task.recipe, measure), MEND).value


def _line(text: str, private: Path) -> str:
    """One line of printable letters without this machine's paths, as a result file has it."""
    for path in (private.absolute(), Path.home()):
        text = text.replace(f"{path}/", "")
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(without_paths(text).split()))


def _audit_of(plan: TablePlan, column: Column, task: Task) -> AuditTask:
    return task.audits[plan.places().index(plan.place(column))]


def _named(audit: Audit, name: str) -> Count:
    return _count(next(trial.own for trial in audit.trials if trial.name == name and trial.own is not None))


def _count(counted: Counted) -> Count:
    return Count(correct=counted.correct, samples=counted.samples)


def _verdict(
    plan: TablePlan,
    claim: Claim,
    done: dict[tuple[str, int], Task],
    store: Store,
    choices: Mapping[str, list[Choice]],
) -> Verdict:
    column = next(column for column in plan.table.columns if column.label == claim.column)
    pairs = [
        (done[claim.higher, seed], done[claim.lower, seed])
        for seed in plan.seeds
        if (claim.higher, seed) in done and (claim.lower, seed) in done
    ]
    if not pairs:
        return Verdict(text=claim.text, column=claim.column, difference=None, p=None)
    untestable = _untestable(claim, choices)
    if column.measure is not None:
        higher, lower = (
            [_measured(store, task, column.measure) for task in tasks] for tasks in zip(*pairs, strict=True)
        )
        difference = (sum(higher) - sum(lower)) / len(pairs)
        return Verdict(text=claim.text, column=claim.column, difference=difference, p=None, untestable=untestable)
    difference, p = compared(
        [(_right(plan, column, above, store), _right(plan, column, below, store)) for above, below in pairs]
    )
    return Verdict(text=claim.text, column=claim.column, difference=difference, p=p, untestable=untestable)


def _untestable(claim: Claim, choices: Mapping[str, list[Choice]]) -> str:
    """Why two rows say nothing of a claim: a method at another price than the published one is another method."""
    missed = {
        choice.calibration.name: choice.miss
        for name in (claim.higher, claim.lower)
        for choice in choices[name]
        if choice.miss is not None
    }
    return "; ".join(f"{name} misses its published price by {miss:+.1f} points" for name, miss in missed.items())


def _right(plan: TablePlan, column: Column, task: Task, store: Store) -> dict[int, bool]:
    """Of every audited image whether it is still right."""
    folder: Path = store.audit(task.recipe, _audit_of(plan, column, task))
    outcomes = read_outcomes(folder / "outcomes.parquet")
    outcomes = outcomes.filter(pc.equal(outcomes.column("trial"), column.trial_name))
    pairs = zip(outcomes.column("sample").to_pylist(), outcomes.column("correct").to_pylist(), strict=True)
    return dict(pairs)
