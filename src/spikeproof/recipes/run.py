"""A recipe at work: trained into a run folder, loaded from one, audited in one."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from spikeproof.audit import MOST_AT_ONCE, Audit, AuditConfig, Shard, audit, audit_name, refuse_present
from spikeproof.data import Data
from spikeproof.disk import alone, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device
from spikeproof.models import NetworkSettings, SpikingModel, check_fits, load_model
from spikeproof.recipes.recipe import DataConfig, Recipe
from spikeproof.recipes.recorded import recorded_part
from spikeproof.recipes.workload import threads_for
from spikeproof.runs import RunFolder, other_data
from spikeproof.spiking import Kernels
from spikeproof.train import Run, train


def train_recipe(
    recipe: Recipe, *, data_dir: Path | None, out: Path, resume: bool = False, command: str = "", show: bool = True
) -> Run:
    """Load, create and train as the recipe says, into the run folder ``out``.

    Args:
        data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.
        out: the run folder.
        resume: go on with the run in ``out``; start it where there is none.
        command: what config.json says of how the run was asked for.
        show: print a line an epoch.

    Returns:
        The run with its trained network, also where it was finished before.

    Raises:
        SpikeproofError: whatever :func:`spikeproof.train` refuses.
    """
    data = recipe.data.load(data_dir)
    model = recipe.model.create(data, recipe.train.seed)
    begun_with = RunFolder(out).threads if resume else None
    with threads_for(model, recipe.train.batch_size, pick_device(recipe.train.device), begun_with):
        return train(
            model,
            data,
            recipe.defenses,
            recipe.train,
            out=out,
            resume=resume,
            name=recipe.name,
            settings=recipe.settings(),
            command=command,
            show=show,
        )


def recorded_audit_config(folder: Path) -> AuditConfig:
    """The audit that the run's recipe asks for.

    Args:
        folder: of the run.

    Raises:
        SpikeproofError: no run there, or one whose recipe this version does not know.
    """
    return recorded_part(AuditConfig, folder, "audit")


def load_run(folder: Path, data_dir: Path | None) -> tuple[SpikingModel, Data]:
    """A finished run's network, on the CPU and in eval mode, and the data that it was made for.

    Args:
        folder: of the run.
        data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.

    Raises:
        SpikeproofError: an unfinished run, damaged weights, or weights of another model than the run's recipe.
    """
    run = _finished(folder)
    recorded = run.config()
    asked = recorded["recipe"].get("model")
    if not isinstance(asked, dict):
        load_model(run.weights)  # of a network of another library it says how to go on
        recorded_part(DataConfig, folder, "data")  # and so does this of a run from Python
        raise SpikeproofError(f"{folder}/config.json does not describe its model; use the version that wrote it.")
    data = recorded_part(DataConfig, folder, "data").load(data_dir)
    model = load_model(run.weights, kernels=_kernels(run))
    held = model.description.to_json()
    # A defense may have taken another coding.
    settings = [field.name for field in dataclasses.fields(NetworkSettings) if field.name != "coding"]
    wanted = {name: asked.get(name) for name in settings}
    wanted |= {"num_classes": data.num_classes, "in_channels": data.channels, "image_size": data.image_size[0]}
    differing = [f"{name} {held[name]} instead of {value}" for name, value in wanted.items() if held[name] != value]
    if differing:
        raise SpikeproofError(
            f"{run.weights} holds another model than the run's recipe: {'; '.join(differing)}; "
            "restore the run's own weights."
        )
    return model, data


def audit_run(
    folder: Path,
    config: AuditConfig,
    *,
    data_dir: Path | None,
    device: str = "auto",
    substitutes: Sequence[Path] = (),
    command: str = "",
    show: bool = True,
    into: Path | None = None,
    force: bool = False,
) -> Audit:
    """Audit a run folder's network on its own data and keep the result among the run's audits.

    An audit that was killed goes on where it was. Under `torchrun` every process does its share and the first one
    writes and tells.

    Args:
        substitutes: run folders of other networks for the same data, for black-box transfer.
        into: another folder for the result, with copies of the run's config.json and metrics.jsonl, so that it can be
            reported like the run. It need not exist.
        force: replace an audit that was asked the same.

    Raises:
        SpikeproofError: whatever :func:`load_run` refuses, data with other classes than the run's, a substitute for
            other data, an audit that is there already, or an ``into`` that another run or a file occupies.
    """
    if into is not None:
        _refuse_occupied(into, folder)
    place = into or audit_folder(folder, config, substitutes)
    refuse_present(place, force=force)
    model, data = load_run(folder, data_dir)
    doubts = other_data(folder, RunFolder(folder).images(), data.fingerprints(), config.split)
    shard = Shard.of_this_process()
    testing, where = config.split == "test", shard.device(pick_device(device))
    others = [_substitute(other, model, _kernels(RunFolder(folder))).to(where) for other in substitutes]
    with contextlib.ExitStack() as held:
        if shard.first:
            held.enter_context(alone(place / ".lock", f"this audit of {folder}"))
            held.enter_context(_copied(folder, place) if into is not None else _as_it_was(folder))
        held.enter_context(threads_for(model, config.batch_size or MOST_AT_ONCE, where))
        parts = place / "audit-parts"
        found = audit(
            model.to(where),
            data.test if testing else data.validation,
            config,
            validation=data.validation if testing else None,
            substitutes=others,
            parts=parts,
            save=lambda found: found.write(place, command),
            doubts=doubts,
            show=show and shard.first,
        )
        if shard.first:  # what an earlier try left that could not be gone on with
            shutil.rmtree(parts, ignore_errors=True)
        return found


def audit_folder(folder: Path, config: AuditConfig, substitutes: Sequence[Path] = ()) -> Path:
    """Where a run keeps an audit that is asked this.

    Args:
        folder: of the run.
        config: what the audit is asked.
        substitutes: run folders of the networks that black-box trials craft on.
    """
    return folder / "audits" / audit_name(config, substitutes)


def _refuse_occupied(target: Path, folder: Path) -> None:
    if any(part.is_file() for part in (target, *target.parents)):
        raise SpikeproofError(f"{target} cannot hold an audit: a file is in its way; give another folder.")
    if RunFolder(target).exists and RunFolder(target).config() != RunFolder(folder).config():
        raise SpikeproofError(f"{target} holds another run than {folder}; give another folder for this audit.")


@contextlib.contextmanager
def _as_it_was(folder: Path) -> Iterator[None]:
    """Whoever removes a run while hours are spent on its audit finds it again with what it said of itself."""
    run = RunFolder(folder)
    text = (folder / "config.json").read_text()
    yield
    if not run.exists:
        write_atomically(folder / "config.json", lambda path: path.write_text(text))


@contextlib.contextmanager
def _copied(folder: Path, target: Path) -> Iterator[None]:
    """What a report tells of a run but for its audit, in another folder before the audit begins: hours later the run
    may have been moved. Taken back where the audit is refused.
    """
    copy = RunFolder(target)
    fresh = not copy.exists
    if target != folder:
        if not (folder / "metrics.jsonl").is_file():
            copy.write_metrics([])
        for held in (folder / "metrics.jsonl", folder / "config.json"):
            if held.is_file():
                write_atomically(target / held.name, partial(shutil.copyfile, held))
    try:
        yield
    except SpikeproofError:
        if fresh:
            (target / "metrics.jsonl").unlink(missing_ok=True)
            copy.abandon()
        raise


def _finished(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    run.refuse_own_network()
    if not run.finished:
        raise SpikeproofError(f"The run in {folder} is not finished; continue it with `spikeproof train ... --resume`.")
    return run


def _kernels(run: RunFolder) -> Kernels:
    return "fused" if run.config()["recipe"]["model"].get("kernels") == "fused" else "reference"


def _substitute(folder: Path, audited: SpikingModel, kernels: Kernels) -> SpikingModel:
    """Another run's network, for images of the same kind."""
    model = load_model(_finished(folder).weights, kernels=kernels)
    wanted = audited.description
    check_fits(
        model,
        shape=wanted.sample_shape,
        classes=wanted.num_classes,
        called=f"the substitute in {folder}",
        data="the audited network's",
        mend="give a run on the same data",
    )
    return model
