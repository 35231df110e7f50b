"""A recipe: one named experiment, every field of which can be overridden."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro

from spikeproof.atomic import write_atomically
from spikeproof.audit import MOST_AT_ONCE, Audit, AuditConfig, Shard, audit, audit_name, refuse_present
from spikeproof.coding import CODINGS, CodingField, Direct
from spikeproof.data import Data, load_data
from spikeproof.defenses import DEFENSES, Defense, find_defense
from spikeproof.errors import SpikeproofError
from spikeproof.locks import alone
from spikeproof.models import MODELS, BatchNormKind, SpikingModel, create_model, load_model
from spikeproof.private_rng import private_rng
from spikeproof.recipes.recorded import recorded_part
from spikeproof.recipes.workload import threads_for
from spikeproof.spiking import SURROGATES, Kernels, Neuron
from spikeproof.train import Run, RunFolder, TrainConfig, pick_device, train

_Kind = TypeVar("_Kind", bound=Defense)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images: the arguments of :func:`spikeproof.data.load_data`."""

    name: str = "cifar10"
    """digits, cifar10, cifar100, tiny_imagenet; or the path of an image folder (train/CLASS/IMAGE, test/CLASS/IMAGE) or
    of an .npz with x_train, y_train, x_test, y_test."""
    classes: tuple[int, ...] | None = None
    """Keep only these, by number; all by default."""
    validation: int | None = 1000
    """Images taken from the training images to choose settings on; None for a tenth of them, at most 1000."""
    train_limit: int | None = None
    """Images to train on; all by default."""
    test_limit: int | None = None
    """Test images; all by default."""
    seed: int = 0
    """Of which images are validation images."""

    def load(self, data_dir: Path | None) -> Data:
        return load_data(
            self.name,
            data_dir=data_dir,
            validation=self.validation,
            train_limit=self.train_limit,
            test_limit=self.test_limit,
            classes=self.classes,
            seed=self.seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network: the arguments of :func:`spikeproof.models.create_model` that the data do not decide."""

    name: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(MODELS)}.")] = "vgg11"
    num_steps: int = 4
    """T, the number of time steps."""
    width: float = 1.0
    """Factor on every number of channels."""
    neuron: Neuron = dataclasses.field(default_factory=Neuron)
    coding: Annotated[
        CodingField, tyro.conf.arg(help=f"How images become frames: {', '.join(map(str.lower, CODINGS))}.")
    ] = Direct()
    batch_norm: BatchNormKind = "merged"
    """Over steps and images merged, the same with tdBN's scales, or of each step."""
    kernels: Kernels = "fused"
    """Plain PyTorch, or compiled once on this machine: the same numbers, faster, with a fraction of the memory."""

    def create(self, data: Data, seed: int) -> SpikingModel:
        height, width = data.image_size
        if height != width:
            raise SpikeproofError(
                f"{data.name} has images of {height}x{width} pixels; these networks need square ones."
            )
        with private_rng():
            torch.manual_seed(seed)
            return create_model(
                self.name,
                num_classes=data.num_classes,
                num_steps=self.num_steps,
                width=self.width,
                image_size=height,
                in_channels=data.channels,
                neuron=self.neuron,
                coding=self.coding,
                batch_norm=self.batch_norm,
                mean=data.mean,
                std=data.std,
                kernels=self.kernels,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data, network, defenses, training and audit of one experiment.

    Its defenses are in the order of ``spikeproof.defenses.DEFENSES``, whatever the order in which they were given, and
    one's own come last: so the same defenses make the same recipe.

    Raises:
        SpikeproofError: a defense twice, or one whose name is that of another part.

    Example:
        >>> from spikeproof.defenses import DSD, TGO
        >>> Recipe(name="mine", defenses=(TGO(), DSD())).defenses[0]
        DSD()
    """

    name: str
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    defenses: tuple[Defense, ...] = ()
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    audit: AuditConfig = dataclasses.field(default_factory=AuditConfig)

    def __post_init__(self) -> None:
        places = {kind: place for place, kind in enumerate(DEFENSES.values())}
        ordered = sorted(self.defenses, key=lambda defense: places.get(type(defense), len(places)))
        object.__setattr__(self, "defenses", tuple(ordered))
        names = [*(field.name for field in dataclasses.fields(self)), *(defense.field for defense in ordered)]
        for defense in ordered:
            if names.count(defense.field) > 1:
                raise SpikeproofError(
                    f"{self.name} has two parts called {defense.name}; list each defense once, and give your own "
                    "another name."
                )

    def defense(self, kind: type[_Kind]) -> _Kind | None:
        """Its defense of this kind, if it has one."""
        return next((each for each in self.defenses if type(each) is kind), None)

    def having(self, *defenses: Defense | None) -> Recipe:
        """The recipe with these defenses too, each in the place of one of its own kind; None adds nothing.

        Example:
            >>> from spikeproof.defenses import REG
            >>> Recipe(name="mine", defenses=(REG(beta=0.1),)).having(REG(beta=0.2), None).defenses
            (REG(beta=0.2, linear_rows=0.3),)
        """
        added = [defense for defense in defenses if defense is not None]
        return dataclasses.replace(self, defenses=(*self.without(*map(type, added)).defenses, *added))

    def without(self, *kinds: type[Defense]) -> Recipe:
        """The recipe without its defenses of these kinds."""
        return dataclasses.replace(self, defenses=tuple(each for each in self.defenses if type(each) not in kinds))

    def settings(self) -> dict[str, Any]:
        """Every field as plain values, a surrogate by its name; each defense under its own."""
        parts = {"name": self.name, "data": self.data, "model": self.model}
        parts |= {defense.field: defense for defense in self.defenses}
        return {name: _plain(part) for name, part in (parts | {"train": self.train, "audit": self.audit}).items()}


def with_defense(recipe: Recipe, name: str) -> Recipe:
    """The recipe with one more defense, as it is by default, under a name that says so.

    Args:
        name: of the defense; see :func:`spikeproof.defenses.find_defense`.

    Raises:
        SpikeproofError: an unknown defense, or one that the recipe has already.

    Example:
        >>> with_defense(Recipe(name="mine"), "reg").defenses
        (REG(beta=0.001, linear_rows=0.3),)
    """
    kind = find_defense(name)
    if recipe.defense(kind) is not None:
        raise SpikeproofError(f"{recipe.name} has {kind.name} already; change it by --{kind.name}.FIELD.")
    return dataclasses.replace(recipe.having(kind()), name=f"{recipe.name}-{kind.name}")


def fitted_to_own_data(asked: Recipe, recipe: Recipe) -> Recipe:
    """What a recipe becomes on other data than its own: what it says of its own images does not hold for these.

    Classes, limits and numbers of samples that were not asked for are the usual ones then; settings that were stay.

    Args:
        asked: with what the user changed; recipe: as it is listed.

    Example:
        >>> listed = Recipe(name="mine", data=DataConfig(name="cifar10", classes=(0, 1), train_limit=100))
        >>> asked = dataclasses.replace(listed, data=dataclasses.replace(listed.data, name="pets"))
        >>> fitted_to_own_data(asked, listed).data
        DataConfig(name='pets', classes=None, validation=None, train_limit=None, test_limit=None, seed=0)
    """
    if asked.data.name == recipe.data.name:
        return asked
    limits = ("classes", "validation", "train_limit", "test_limit")
    kept = [field for field in limits if getattr(asked.data, field) == getattr(recipe.data, field)]
    none: dict[str, Any] = dict.fromkeys(kept)
    fitted = dataclasses.replace(asked.data, **none)
    audit = asked.audit
    if audit.samples == recipe.audit.samples:
        audit = dataclasses.replace(audit, samples=None)
    return dataclasses.replace(asked, data=fitted, audit=audit)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        named = (*SURROGATES.values(), *CODINGS.values())
        return {"name": type(value).__name__, **fields} if type(value) in named else fields
    return list(value) if isinstance(value, tuple) else value


def train_recipe(
    recipe: Recipe, *, data_dir: Path | None, out: Path, resume: bool = False, command: str = "", show: bool = True
) -> Run:
    """Load, create and train as the recipe says, into the run folder ``out``."""
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

    Raises:
        SpikeproofError: no run there, or one whose recipe this version does not know.
    """
    return recorded_part(AuditConfig, folder, "audit")


def load_run(folder: Path, data_dir: Path | None) -> tuple[SpikingModel, Data]:
    """A finished run's network, on the CPU and in eval mode, and the data that it was made for.

    Raises:
        SpikeproofError: an unfinished run, damaged weights, or weights of another model than the run's recipe.
    """
    run = _finished(folder)
    recorded = run.config()
    asked = recorded["recipe"].get("model")
    if not isinstance(asked, dict):
        raise SpikeproofError(f"{folder}/config.json does not describe its model; use the version that wrote it.")
    data = recorded_part(DataConfig, folder, "data").load(data_dir)
    model = load_model(run.weights, kernels=_kernels(run))
    held = model.description.to_json()
    wanted = {name: asked.get(name) for name in ("name", "num_steps", "width", "neuron", "batch_norm")}
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
    doubts = _other_data(folder, data, config.split)
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
    """Where a run keeps an audit that is asked this."""
    return folder / "audits" / audit_name(config, substitutes)


def _other_data(folder: Path, data: Data, split: str) -> list[str]:
    """What is to be said of an audit on other images than the run's.

    Raises:
        SpikeproofError: the classes have other names, so that a label means another thing.
    """
    held, now = RunFolder(folder).images(), data.fingerprints()
    if not held:
        return []
    if held["class_names"] != now["class_names"]:
        before, after = (", ".join(names[:5]) for names in (held["class_names"], now["class_names"]))
        raise SpikeproofError(
            f"The data at hand have other classes ({after}, ...) than those that the run in {folder} was trained on "
            f"({before}, ...), so a label would mean another thing; give that data."
        )
    if held[split] != now[split]:
        return [f"The {split} images are not those that the run had: files were changed since, or are another copy."]
    return []


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
    run.config()
    if not run.finished:
        raise SpikeproofError(f"The run in {folder} is not finished; continue it with `spikeproof train ... --resume`.")
    return run


def _kernels(run: RunFolder) -> Kernels:
    return "fused" if run.config()["recipe"]["model"].get("kernels") == "fused" else "reference"


def _substitute(folder: Path, audited: SpikingModel, kernels: Kernels) -> SpikingModel:
    """Another run's network, for images of the same kind."""
    model = load_model(_finished(folder).weights, kernels=kernels)
    takes, wanted = (
        (held.in_channels, held.image_size, held.num_classes) for held in (model.description, audited.description)
    )
    if takes != wanted:
        raise SpikeproofError(
            f"The substitute in {folder} takes {takes[0]}x{takes[1]}x{takes[1]} images of {takes[2]} classes, and the "
            f"audited network {wanted[0]}x{wanted[1]}x{wanted[1]} of {wanted[2]}; give a run on the same data."
        )
    return model
