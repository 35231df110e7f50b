"""vgg11-cifar10-* and wrn16-cifar10-*: the papers' networks and schedule at full size, T=4 (MPD-SGR Table 2, TGO).

200 epochs, batch 64, SGD 0.9, learning rate 0.1 with cosine, weight decay 5e-4, crop, flip and Cutout (as in the code
of the published RAT checkpoint), adversarial training by PGD-2 at 2/255 with step 1/255, audit at 8/255 with PGD-7 of
step 2.55/255 as in every table. These are days on a CPU; they are for a GPU. eta, delta and sigma are not published,
and the values here are not calibrated at this size. lambda_max is TGO's: 0.6 for VGG11, 0.4 for WRN16.
"""

from __future__ import annotations

import dataclasses

from spikeproof.audit import AuditConfig
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining
from spikeproof.recipes.family import family
from spikeproof.recipes.recipe import ModelConfig, Recipe
from spikeproof.train import TrainConfig

_VGG11 = Recipe(
    name="vgg11-cifar10",
    model=ModelConfig(name="vgg11"),
    train=TrainConfig(epochs=200),
    audit=AuditConfig(eps=8 / 255, samples=1000, trials=("PGD-7", "BIM-7")),
)
_WRN16 = dataclasses.replace(_VGG11, name="wrn16-cifar10", model=ModelConfig(name="wrn16"))
_PGD2 = AdversarialTraining(eps=2 / 255, attack="pgd", steps=2)

PAPERS = [
    *family(_VGG11, at=_PGD2, mpd_sgr=MPDSGR(eta=2.0), tgo=TGO(lambda_max=0.6, sigma=0.3), at_eps=8 / 255),
    *family(_WRN16, at=_PGD2, mpd_sgr=MPDSGR(eta=2.0), tgo=TGO(lambda_max=0.4, sigma=0.3), at_eps=8 / 255),
]
