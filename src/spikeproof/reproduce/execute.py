"""Do one task: what is there already is kept, what was begun goes on, and no two processes do the same at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from spikeproof.audit import AuditConfig
from spikeproof.data import Data
from spikeproof.disk import Busy, alone, sealed, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.insight import describe_sites, landscape, synaptic_operations
from spikeproof.machine.device import pick_device
from spikeproof.recipes import Recipe, audit_run, load_run, train_recipe
from spikeproof.records.reading import read_record
from spikeproof.records.record import FileRecord
from spikeproof.records.run_json import NetworkFacts, Taken
from spikeproof.reproduce.task import LANDSCAPE_RADIUS, MEASURED_IMAGES, Store, Task
from spikeproof.runs import RunFolder
from spikeproof.tables import Measure

MEND = "remove it and start the same command again"  # of a file that execute wrote


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What a task needs to know beside itself: where results go, where the data are, and how much it may tell."""

    store: Store
    data_dir: Path | None
    command: str
    show: bool


def execute(task: Task, circumstances: Circumstances) -> None:
    """Train the task's network and find out what is asked about it.

    Raises:
        Busy: another process is at this network; ask again later.
        SpikeproofError: whatever training or an audit refuses; what was finished before stays.
    """
    store = circumstances.store
    with alone(store.lock(task.recipe), "this network"):
        for left in store.network(task.recipe).rglob(".*.tmp"):  # by a process that was killed while writing
            left.unlink()
        if not store.trained(task.recipe):
            _train(task.recipe, circumstances)
        elif not store.done(task):
            _check_images(task.recipe, circumstances)
        for audit in task.audits:
            into = store.audit(task.recipe, audit)
            if not (into / "audit.json").exists():
                substitutes = [] if audit.substitute is None else [store.network(audit.substitute)]
                audit_run(
                    store.network(task.recipe),
                    audit.config,
                    data_dir=circumstances.data_dir,
                    substitutes=substitutes,
                    command=circumstances.command,
                    show=circumstances.show,
                    into=into,
                )
        for measure in task.measures:
            target = store.measure(task.recipe, measure)
            if not target.exists():
                _write(target, Taken(measure=measure, value=_measure(task.recipe, measure, circumstances)))


def is_busy(store: Store, recipe: Recipe) -> bool:
    """Whether some process is at this network just now."""
    try:
        with alone(store.lock(recipe), "this network"):
            return False
    except Busy:
        return True


def _train(recipe: Recipe, circumstances: Circumstances) -> None:
    folder = circumstances.store.network(recipe)
    # Its name and its audit are the same for every table that shares the network.
    named = dataclasses.replace(recipe, name=f"{recipe.model.name}-{recipe.data.name}", audit=AuditConfig())
    on_gpu = pick_device(recipe.train.device).type == "cuda"
    begun = RunFolder(folder).begun
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train_recipe(
        named,
        data_dir=circumstances.data_dir,
        out=folder,
        resume=True,
        command=circumstances.command,
        show=circumstances.show,
    )
    peak = torch.cuda.max_memory_allocated() if on_gpu and not begun else None
    model, data = load_run(folder, circumstances.data_dir)
    few = data.test.take(data.test.part(MEASURED_IMAGES))
    device = pick_device(recipe.train.device)
    operations = synaptic_operations(model.to(device), few.images.to(device).float() / 255)
    facts = NetworkFacts(
        data_note=data.note,
        images=_images(data),
        classes=data.num_classes,
        train_images=len(data.train),
        synaptic_operations=operations.additions,
        peak_memory_bytes=peak,
    )
    _write(circumstances.store.facts(recipe), facts)


def _check_images(recipe: Recipe, circumstances: Circumstances) -> None:
    """Nothing, if the images at hand are those that the network was trained for.

    Raises:
        SpikeproofError: they differ, so an audit on them would not belong to the others.
    """
    before = read_record(NetworkFacts, circumstances.store.facts(recipe), MEND).images
    now = _images(recipe.data.load(circumstances.data_dir))
    if before != now:
        raise SpikeproofError(
            f"The {recipe.data.name} at hand has other images than the one that this network was trained on; give that "
            "one by --data-dir, or another --out."
        )


def _images(data: Data) -> dict[str, Any]:
    """Those that numbers are taken on."""
    return {name: value for name, value in data.fingerprints().items() if name != "train"}


def _measure(recipe: Recipe, measure: Measure, circumstances: Circumstances) -> float:
    model, data = load_run(circumstances.store.network(recipe), circumstances.data_dir)
    few = data.test.take(data.test.part(MEASURED_IMAGES)).to(pick_device(recipe.train.device))
    model.to(few.images.device)
    images, labels = few.images.float() / 255, few.labels
    if measure == "proximal share":
        return fmean(site.proximal_share for site in describe_sites(model, images))
    return landscape(model, images, labels, LANDSCAPE_RADIUS).roughness


def _write(path: Path, content: FileRecord) -> None:
    text = json.dumps(sealed(content.plain()), indent=1) + "\n"
    write_atomically(path, lambda target: target.write_text(text))
