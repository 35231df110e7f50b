"""demo-digits-*: six small networks on scikit-learn's 8x8 digits, real images that need no download.

Command: ``spikeproof demo`` runs all six. Hardware: 2 CPU cores, about two minutes. Expect about 98 % clean; see the
README's table. The weights of the defenses were chosen on the validation split (docs/log.md).
"""

from __future__ import annotations

from spikeproof.audit import AuditConfig
from spikeproof.data import Augmentation
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining
from spikeproof.recipes.family import family
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.train import TrainConfig

DIGITS = family(
    Recipe(
        name="demo-digits",
        data=DataConfig(name="digits", validation=200),
        model=ModelConfig(name="conv", kernels="reference"),
        # bf16 gains nothing on so small a network, and in fp32 the demo trains the same networks on every machine.
        train=TrainConfig(epochs=20, precision="fp32", augmentation=Augmentation(crop_padding=0, flip=False, cutout=0)),
        audit=AuditConfig(eps=0.1, samples=200, battery="quick", sweep=(0.05, 0.15, 0.2)),
    ),
    at=AdversarialTraining(eps=0.1),
    mpd_sgr=MPDSGR(eta=0.5, warmup=0.0),
    tgo=TGO(lambda_max=0.6, delta=0.5, sigma=0.5),
    at_eps=0.1,
)
