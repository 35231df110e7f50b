"""A recipe: one named experiment, every field of which can be overridden."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from spikeproof.audit import AuditConfig
from spikeproof.coding import CODINGS, CodingField, Direct
from spikeproof.data import Data, load_data
from spikeproof.defenses import (
    AWP,
    DLIF,
    DSD,
    EMA,
    FEEL,
    HIRE,
    LSG,
    MART,
    MPDSGR,
    NDL,
    REG,
    SR,
    TGO,
    TRADES,
    AdversarialTraining,
    Defense,
    Dspike,
    FreeAdversarialTraining,
    HoSNN,
    InfLoR,
    LearnableWidth,
    RandHet,
    RecDis,
    RMPLoss,
    StoG,
)
from spikeproof.errors import SpikeproofError
from spikeproof.models import MODELS, BatchNormKind, SpikingModel, create_model
from spikeproof.private_rng import private_rng
from spikeproof.spiking import SURROGATES, Kernels, Neuron
from spikeproof.train import TrainConfig


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

    name: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(sorted(MODELS))}.")] = "vgg11"
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

    Example:
        >>> Recipe(name="mine", dsd=DSD()).defenses()
        [DSD()]
    """

    name: str
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    at: AdversarialTraining | None = None
    free: FreeAdversarialTraining | None = None
    trades: TRADES | None = None
    mart: MART | None = None
    hire: HIRE | None = None
    dlif: DLIF | None = None
    sr: SR | None = None
    reg: REG | None = None
    dsd: DSD | None = None
    stog: StoG | None = None
    feel: FEEL | None = None
    ndl: NDL | None = None
    randhet: RandHet | None = None
    hosnn: HoSNN | None = None
    learnable_width: LearnableWidth | None = None
    lsg: LSG | None = None
    dspike: Dspike | None = None
    recdis: RecDis | None = None
    rmp_loss: RMPLoss | None = None
    inflor: InfLoR | None = None
    mpd_sgr: MPDSGR | None = None
    tgo: TGO | None = None
    awp: AWP | None = None
    ema: EMA | None = None
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    audit: AuditConfig = dataclasses.field(default_factory=AuditConfig)

    def defenses(self) -> list[Defense]:
        """Those that are not None, in the order of the fields."""
        held = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [value for value in held if isinstance(value, Defense)]

    def settings(self) -> dict[str, Any]:
        """Every field as plain values, a surrogate by its name; of the defenses, those that it has."""
        settings: dict[str, Any] = _plain(self)
        return {name: value for name, value in settings.items() if value is not None}


def known_defenses() -> dict[str, type[Defense]]:
    """Every defense that a recipe can have, by the name of its field."""
    hints = typing.get_type_hints(Recipe)
    offered = [(name, kind) for name, hint in hints.items() for kind in typing.get_args(hint)]
    return {name: kind for name, kind in offered if isinstance(kind, type) and issubclass(kind, Defense)}


def with_defense(recipe: Recipe, name: str) -> Recipe:
    """The recipe with one more defense, as it is by default, under a name that says so.

    Args:
        name: of the field, also with dashes: "mpd-sgr".

    Raises:
        SpikeproofError: an unknown defense, or one that the recipe has already.

    Example:
        >>> with_defense(Recipe(name="mine"), "reg").defenses()
        [REG(beta=0.001, linear_rows=0.3)]
    """
    field, kinds = name.replace("-", "_"), known_defenses()
    if field not in kinds:
        known = ", ".join(each.replace("_", "-") for each in kinds)
        raise SpikeproofError(f"There is no defense {name!r}; the defenses are {known}.")
    if getattr(recipe, field) is not None:
        raise SpikeproofError(f"{recipe.name} has {name} already; change it by --{name}.FIELD.")
    changes: dict[str, Any] = {field: kinds[field](), "name": f"{recipe.name}-{field.replace('_', '-')}"}
    return dataclasses.replace(recipe, **changes)


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
