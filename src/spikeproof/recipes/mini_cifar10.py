"""mini-cifar10-*: quarter-width VGG11, T=4, three classes, 2,000 images far past convergence: MPD-SGR and TGO in small.

Command: ``spikeproof train mini-cifar10-mpd-sgr --data-dir DATA`` and ``spikeproof audit runs/mini-cifar10-mpd-sgr``.
Hardware: 4 to 12 minutes of training and 5 to 9 of audit on one CPU core. Expect 80 to 89 % clean and, at 4/255, 49 to
74 % under PGD-20 and 22 to 47 % in the worst case (README). eta and lambda_max were chosen on the validation split, two
values each; delta and sigma were not searched further (docs/log.md).
"""

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
        audit=AuditConfig(radius=4 / 255, samples=500, precision="bf16"),
    ),
    at=AdversarialTraining(eps=2 / 255, precision="bf16"),
    mpd_sgr=MPDSGR(eta=3.0, warmup=0.5),
    tgo=TGO(lambda_max=3.0, delta=0.5, sigma=0.3),
    at_radius=4 / 255,
)
