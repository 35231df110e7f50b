"""mini-cifar10-*: quarter-width VGG11, T=4, small enough for two CPU cores."""

from __future__ import annotations

from spikeproof.audit import AuditConfig
from spikeproof.data import Augmentation
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining
from spikeproof.recipes.family import family
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.train import TrainConfig

MINI_CIFAR10 = family(
    Recipe(
        name="mini-cifar10",
        data=DataConfig(name="cifar10", classes=(0, 1, 3), validation=500, train_limit=2000),
        model=ModelConfig(name="vgg11", width=0.25),
        train=TrainConfig(
            epochs=25,
            precision="bf16",
            augmentation=Augmentation(crop_padding=0, flip=False, cutout=0),
            validate_every=5,
        ),
        audit=AuditConfig(
            radius=4 / 255, samples=500, sa_pgd_steps=50, precision="bf16", sweep=(8 / 255,), sweep_samples=200
        ),
    ),
    at=AdversarialTraining(eps=2 / 255, precision="bf16"),
    mpd_sgr=MPDSGR(eta=3.0, warmup=0.5),
    tgo=TGO(lambda_max=3.0, delta=0.5, sigma=0.3),
    at_radius=4 / 255,
)
