"""Do one task: what is there already is kept, what was begun goes on, and no two processes do the same at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from statistics import fmean

import torch

from spikeproof.disk import Busy, alone, sealed, write_atomically
from spikeproof.engine.store import Store
from spikeproof.engine.task import LANDSCAPE_RADIUS, MEASURED_IMAGES, Task
from spikeproof.errors import SpikeproofError
from spikeproof.insight import describe_sites, landscape, synaptic_operations
from spikeproof.machine.device import pick_device
from spikeproof.recipes import Recipe, audit_folder, audit_run, load_run, train_recipe
from spikeproof.records.reading import read_record
from spikeproof.records.record import FileRecord
from spikeproof.records.run_json import NetworkFacts, Taken
from spikeproof.runs import RunFolder
from spikeproof.tables import Measure

MEND = "remove it and start the same command again"  # of a file that execute wrote


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What is the same for all tasks of a command.

    Args:
        store: where networks and audits lie.
        data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.
        command: that networks and audits keep as theirs.
        show: say on stderr how far it is.
    """

    store: Store
    data_dir: Path | None = None
    command: str = ""
    show: bool = True


def execute(task: Task, circumstances: Circumstances) -> None:
    """Train the task's network and find out what is asked about it; what is there already is kept.

    Raises:
        Busy: another process is at this network; ask again later.
        SpikeproofError: whatever training or an audit refuses; what was finished before stays.
    """
    store, folder = circumstances.store, circumstances.store.network(task.recipe)
    with alone(store.lock(task.recipe), "this network"):
        if store.done(task):
            return
        for left in folder.rglob(".*.tmp"):  # by a process that was killed while writing
            left.unlink()
        _train(task, circumstances)
        for audit in task.audits:
            place = store.audit(task.recipe, audit)
            if not (place / "audit.json").exists():
                audit_run(
                    folder,
                    audit.config,
                    data_dir=circumstances.data_dir,
                    substitutes=[] if audit.substitute is None else [store.network(audit.substitute)],
                    command=circumstances.command,
                    show=circumstances.show,
                    into=None if place == audit_folder(folder, audit.config) else place,
                )
        for measure in task.measures:
            target = store.measure(task.recipe, measure)
            if not target.exists():
                _write(target, Taken(measure=measure, value=_measure(task.recipe, measure, circumstances)))


def is_busy(store: Store, recipe: Recipe) -> bool:
    """Whether some process is at this network just now.

    Args:
        recipe: that gives the network.

    Raises:
        SpikeproofError: the store cannot be written.
    """
    try:
        with alone(store.lock(recipe), "this network"):
            return False
    except Busy:
        return True


def _train(task: Task, circumstances: Circumstances) -> None:
    """Train the network, or make sure that the one that is there is this one, of the data at hand."""
    recipe, folder = task.recipe, circumstances.store.network(task.recipe)
    on_gpu = pick_device(recipe.train.device).type == "cuda"
    begun = RunFolder(folder).begun
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train_recipe(
        recipe,
        data_dir=circumstances.data_dir,
        out=folder,
        resume=True,
        command=circumstances.command,
        show=circumstances.show,
    )
    peak = torch.cuda.max_memory_allocated() if on_gpu and not begun else None
    if task.facts:
        _keep_facts(recipe, circumstances, peak)


def _keep_facts(recipe: Recipe, circumstances: Circumstances, peak: int | None) -> None:
    """Write what result rows say of the network beside its run, once.

    Raises:
        SpikeproofError: facts are there and tell of other images than those at hand, so an audit on these would not
            belong to the others.
    """
    target, data = circumstances.store.facts(recipe), recipe.data.load(circumstances.data_dir)
    images = {name: value for name, value in data.fingerprints().items() if name != "train"}
    if target.exists():
        if read_record(NetworkFacts, target, MEND).images != images:
            raise SpikeproofError(
                f"The {recipe.data.name} at hand has other images than the one that this network was trained on; give "
                "that one by --data-dir, or another --out."
            )
        return
    model, _ = load_run(circumstances.store.network(recipe), circumstances.data_dir)
    few = data.test.take(data.test.part(MEASURED_IMAGES))
    device = pick_device(recipe.train.device)
    operations = synaptic_operations(model.to(device), few.images.to(device).float() / 255)
    facts = NetworkFacts(
        data_note=data.note,
        images=images,
        classes=data.num_classes,
        train_images=len(data.train),
        synaptic_operations=operations.additions,
        peak_memory_bytes=peak,
    )
    _write(target, facts)


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
