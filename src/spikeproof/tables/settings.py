"""What the papers' tables share: their networks, their training, and each method's published settings.

Read in the official code where there is some (SNN-RAT and its history, StoG, DLIF, FEEL, SR, ASSG), else in the papers.
Where neither says it, SNN-RAT's setting is taken, since MPD-SGR says that it follows it and TGO's baselines are its:

- IF neurons of threshold 1, triangle of half-width 1, reset in the graph, batch norm merged over steps.
- SGD 0.9, learning rate 0.1 with a cosine to 0, batches of 64, 200 epochs, crop, flip and a Cutout of 16 pixels. Its
  last commit has no Cutout, but the code that gave its published checkpoint has it.
- Weight decay 5e-4, and 0 where weights are retracted (REG, RAT). StoG's own is the same.
- RAT is REG with adversarial training. Its published checkpoint was trained by FGSM of 2/255; MPD-SGR says PGD-2 of
  2/255, which is also the default of SNN-RAT's code. TGO does not say; its RAT (91.44 clean, 42.02 FGSM) is within 0.3
  points of MPD-SGR's own at the same network, data and steps (91.15, 42.31), so PGD-2 it is for both.

Ours: 1,000 training images are held out for validation, the last epoch's weights are the result (the originals took the
best of the test set), seed 0 (42 there); training in bfloat16 where the machine has it, audits in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from spikeproof.audit import AuditConfig
from spikeproof.data import Augmentation
from spikeproof.defenses import DLIF, FEEL, MPDSGR, REG, SR, AdversarialTraining, Defense, StoG
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.tables.table import Calibration
from spikeproof.train import TrainConfig

Network = Literal["vgg11", "vgg16", "wrn16", "sew-resnet19"]

_TRAIN = TrainConfig(
    epochs=200,
    batch_size=64,
    learning_rate=0.1,
    augmentation=Augmentation(crop_padding=4, flip=True, cutout=16),
    validate_every=10,
)
_NO_CUTOUT = Augmentation(crop_padding=4, flip=True, cutout=0)

AUDIT = AuditConfig(eps=8 / 255)
AT = AdversarialTraining(eps=2 / 255, attack="pgd", steps=2, step_size=1 / 255)
STOG = StoG(prior=5e-6, until=0.5)

# Candidates for what no paper states; each is a training run, so there are few.
# An eta pulls each channel half as hard where there are twice as many, hence the wide range.
MPD_SGR_CANDIDATES = (MPDSGR(eta=1.0), MPDSGR(eta=2.0), MPDSGR(eta=4.0), MPDSGR(eta=8.0))
# SR's code prints three decimals of its strength, and 0.001 was once its default.
SR_CANDIDATES = (SR(strength=0.001), SR(strength=0.003), SR(strength=0.01))


def plain(network: Network, data: str, num_steps: int) -> Recipe:
    """A network on a data set under SNN-RAT's training, without any defense.

    Args:
        network, data: their names.
        num_steps: T.

    Example:
        >>> plain("vgg11", "cifar100", 8).train.epochs
        200
    """
    return Recipe(
        name=f"{network}-{data}",
        data=DataConfig(name=data),
        model=ModelConfig(name=network, num_steps=num_steps),
        train=_TRAIN,
        audit=AUDIT,
    )


def reg(network: Network) -> REG:
    """SNN-RAT's retraction with the strength that its and DLIF's code have for the network (VGG16: as VGG11)."""
    return REG(beta=0.004 if network == "wrn16" else 0.001)


def with_training(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with other settings of its training.

    Args:
        settings: fields of :class:`spikeproof.train.TrainConfig`.
    """
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **settings))


def with_dlif(recipe: Recipe, *, adversarial: bool) -> Recipe:
    """DLIF as its code trains it: 100 epochs, FGSM of 4/255 from a start of 0.001, or Gaussian noise of 8/255.

    It brings its own images, so it is not crafted by PGD-2 where the others are.

    Args:
        adversarial: by FGSM, or by noise.
    """
    perturbation: Literal["fgsm", "gaussian"] = "fgsm" if adversarial else "gaussian"
    settings = {"alpha": 1.0, "kappa": 0.5, "eps": 4 / 255, "start": 0.001, "std": 8 / 255, "decay": 0.99}
    dlif = DLIF(perturbation=perturbation, **settings)  # type: ignore[arg-type]
    return with_training(recipe.having(dlif), epochs=100)


def with_feel(recipe: Recipe, *, adversarial: bool) -> Recipe:
    """FEEL as its code trains it: 300 epochs, batches of 256, no Cutout; its frames are not normalised.

    Args:
        adversarial: with AT, or without.
    """
    trained = with_training(recipe, epochs=300, batch_size=256, augmentation=_NO_CUTOUT)
    return trained.having(FEEL(), AT if adversarial else None)


def sr_training(recipe: Recipe) -> Recipe:
    """The training of SR's code: batches of 32, no Cutout."""
    return with_training(recipe, batch_size=32, augmentation=_NO_CUTOUT)


def calibration(
    name: str,
    candidates: Iterable[Defense],
    recipe: Recipe,
    reference: Recipe,
    *,
    clean: tuple[float, float],
    source: str,
) -> Calibration:
    """A calibration from the published clean accuracies of the reference and of the method.

    Args:
        name, candidates, recipe, reference: see :class:`spikeproof.tables.Calibration`.
        clean: both accuracies in percent, the reference's first.
        source: where they stand.
    """
    drop = round(clean[0] - clean[1], 2)
    stated = f"{clean[0]} and {clean[1]} clean, {source}"
    return Calibration(
        name=name,
        candidates=tuple(candidates),
        recipe=recipe,
        reference=reference,
        drop=drop,
        source=stated,
    )
