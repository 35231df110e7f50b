"""A recipe: one named experiment, every field of which can be overridden."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from typing_extensions import Doc

from spikeproof.audit import AuditConfig
from spikeproof.data import Data, load_data
from spikeproof.defenses import DEFENSES, Defense, find_defense
from spikeproof.errors import SpikeproofError
from spikeproof.models import MODELS, NetworkSettings, SpikingModel, create_model, plain_values
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Kernels
from spikeproof.train import TrainConfig

_Kind = TypeVar("_Kind", bound=Defense)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images: the arguments of :func:`spikeproof.data.load_data`."""

    name: str = "cifar10"
    """digits, digits-events, cifar10, cifar100, tiny_imagenet; or the path of an image folder (train/CLASS/IMAGE,
    test/CLASS/IMAGE) or of an .npz with x_train, y_train, x_test, y_test."""
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
        """The images.

        Args:
            data_dir: folder of the data sets; None for SPIKEPROOF_DATA_DIR, else the Hugging Face hub.

        Raises:
            SpikeproofError: whatever :func:`spikeproof.data.load_data` refuses.
        """
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
class ModelConfig(NetworkSettings):
    """Which network: the arguments of :func:`spikeproof.models.create_model` that the data do not decide."""

    name: Annotated[str, Doc(f"One of {', '.join(MODELS)}.")] = "vgg11"
    kernels: Kernels = "fused"
    """Plain PyTorch, or compiled once on this machine: the same numbers, faster, with a fraction of the memory."""

    def create(self, data: Data, seed: int) -> SpikingModel:
        """The network for these images, untrained.

        Args:
            seed: of its first weights.

        Raises:
            SpikeproofError: images that are not square, or settings that the network refuses.
        """
        height, width = data.image_size
        if height != width:
            raise SpikeproofError(
                f"{data.name} has images of {height}x{width} pixels; these networks need square ones."
            )
        with private_rng():
            torch.manual_seed(seed)
            return create_model(
                **self.arguments,
                num_classes=data.num_classes,
                image_size=height,
                in_channels=data.channels,
                mean=data.mean,
                std=data.std,
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
        return {name: plain_values(part) for name, part in (parts | {"train": self.train, "audit": self.audit}).items()}


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
