"""mini-cifar10-*: VGG11 at an eighth of its width, T=4, 10,000 images of CIFAR-10, under every defense.

Command: ``spikeproof compare mini-cifar10 --data-dir DATA`` for all of them, ``spikeproof train mini-cifar10-mpd-sgr``
and ``spikeproof audit runs/mini-cifar10-mpd-sgr`` for one. Hardware: one CPU core each, 3 to 12 minutes of training and
1 to 4 of audit, several times that for random networks. Expect 45 to 55 % clean and, without a defense, nothing right
under PGD at 8/255, as at full size; docs/comparison.md has the rest. What no paper states was chosen on validation
images (docs/log.md); all else is as published, but for the size.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from spikeproof.audit import AuditConfig
from spikeproof.coding import RSC, SQE, Poisson, SignedRate
from spikeproof.data import Augmentation
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
    GaussianNoise,
    HoSNN,
    InfLoR,
    LearnableWidth,
    RandHet,
    RecDis,
    RMPLoss,
    StoG,
)
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.spiking import Neuron, Rectangular, Sigmoid, SuperSpike
from spikeproof.train import TrainConfig

_BASE = Recipe(
    name="mini-cifar10",
    data=DataConfig(name="cifar10", validation=1000, train_limit=10_000),
    model=ModelConfig(name="vgg11", width=0.125),
    train=TrainConfig(
        epochs=12,
        augmentation=Augmentation(crop_padding=4, flip=True, cutout=0),
        validate_every=4,
    ),
    audit=AuditConfig(eps=8 / 255, samples=500, trials=("PGD-7",), sweep_samples=30),
)
_AT = AdversarialTraining(eps=2 / 255)
_MPD_SGR = MPDSGR(eta=2.0)
_TGO = TGO(lambda_max=2.0, delta=0.5, sigma=0.3)
# What a random network's gradients and verdicts are averaged over: fewer draws than an audit takes by itself.
_DRAWS = {"eot_iter": 4, "judge_draws": 10}


def _row(
    name: str,
    *defenses: Defense,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
) -> Recipe:
    return dataclasses.replace(
        _BASE.having(*defenses),
        name=f"mini-cifar10-{name}",
        model=dataclasses.replace(_BASE.model, **(model or {})),
        train=dataclasses.replace(_BASE.train, **(train or {})),
        audit=dataclasses.replace(_BASE.audit, **(audit or {})),
    )


def _pair(name: str, *defenses: Defense, **changes: Any) -> list[Recipe]:
    """The row without adversarial training and with it."""
    return [_row(name, *defenses, **changes), _row(f"at-{name}", _AT, *defenses, **changes)]


def _surrogate(surrogate: Any) -> dict[str, Any]:
    return {"neuron": Neuron(surrogate=surrogate)}


MINI_CIFAR10 = [
    _row("vanilla"),
    _row("at", _AT),
    *_pair("mpd-sgr", _MPD_SGR),
    # The dose whose price in clean accuracy is the published one (docs/claims.md).
    *_pair("mpd-sgr-mild", MPDSGR(eta=0.5)),
    *_pair("tgo", _TGO),
    # Other ways of adversarial training. Free trains four times on each batch, HIRE twice: so many fewer epochs,
    # as every row makes as many optimiser steps.
    _row("fast-at", AdversarialTraining(eps=2 / 255, attack="fgsm-rs")),
    _row("free-at", FreeAdversarialTraining(eps=2 / 255), train={"epochs": 3, "validate_every": 1}),
    _row("trades", TRADES(eps=2 / 255)),
    _row("mart", MART(eps=2 / 255)),
    _row("hire", HIRE(eps=2 / 255), train={"epochs": 6, "validate_every": 2}),
    # For certificates by smoothing, which has the same sigma.
    _row("gaussian-noise", GaussianNoise(sigma=0.12)),
    # SNN-RAT: at-reg is RAT. DLIF brings its own images, at AT's radius, half of its paper's; its plain row perturbs by
    # Gaussian noise, likewise of half the published deviation.
    *_pair("reg", REG(beta=0.001)),
    *_pair("sr", SR(strength=0.001)),
    _row("dlif", DLIF(perturbation="gaussian", std=4 / 255)),
    _row("at-dlif", DLIF(eps=2 / 255)),
    _row("at-dlif-l1", DLIF(norm="l1", eps=2 / 255)),
    *_pair("feel", FEEL()),
    *_pair("feel-frequency", FEEL(leak=False)),
    *_pair("feel-leak", FEEL(frequency=False)),
    *_pair("dsd", DSD()),
    *_pair("hosnn", HoSNN()),
    # Of 16 candidates the best worst case on validation images at no more than AT + SR's cost (docs/training.md).
    _row("best", AdversarialTraining(eps=8 / 255, attack="pgd", steps=2), AWP(warmup=0.4)),
    # Weights that are perturbed in training, and their average.
    *_pair("awp", AWP()),
    *_pair("ema", EMA()),
    # Random networks.
    *_pair("stog", StoG(), audit=_DRAWS),
    *_pair("ndl", NDL(), audit=_DRAWS),
    *_pair("randhet", RandHet(), audit=_DRAWS),
    *_pair("tgo-noise", dataclasses.replace(_TGO, noise_at_inference=True), audit=_DRAWS),
    *_pair("tgo-carried", dataclasses.replace(_TGO, noise="potential", noise_at_inference=True), audit=_DRAWS),
    # What shapes potentials towards the threshold, or widens the surrogate over them.
    *_pair("recdis", RecDis()),
    *_pair("rmp-loss", RMPLoss()),
    *_pair("inflor", InfLoR()),
    *_pair("learnable-width", LearnableWidth()),
    *_pair("lsg", LSG()),
    *_pair("dspike", Dspike()),
    # MPD-SGR and TGO with widths that grow with the potentials (docs/comparison.md tells why).
    *_pair("mpd-sgr-spread", MPDSGR(eta=1.5, warmup=0.5, width="spread")),
    *_pair("mpd-sgr-attack", MPDSGR(eta=1.5, warmup=0.5, width="attack")),
    *_pair("tgo-spread", TGO(lambda_max=1.0, delta=0.5, sigma=0.3, width="spread")),
    *_pair("tgo-attack", TGO(lambda_max=1.0, delta=1.0, sigma=0.3, width="attack")),
    # MPD-SGR Table 4: other surrogates.
    _row("rectangular-mpd-sgr", _MPD_SGR, model=_surrogate(Rectangular())),
    _row("sigmoid-mpd-sgr", _MPD_SGR, model=_surrogate(Sigmoid())),
    _row("superspike-mpd-sgr", _MPD_SGR, model=_surrogate(SuperSpike())),
    # Codings and batch norm. tdBN equals the merged batch norm at threshold 1, so it has no row.
    *_pair("poisson", model={"coding": Poisson()}, audit=_DRAWS),
    *_pair("rsc", model={"coding": RSC()}, audit=_DRAWS),
    *_pair("signed-rate", model={"coding": SignedRate()}, audit=_DRAWS),
    *_pair("sqe", model={"coding": SQE()}, audit=_DRAWS),
    *_pair("per-step-norm", model={"batch_norm": "per-step"}),
]

# What MPD-SGR's and TGO's tables claim of their rows over others, MPD-SGR's at either dose, and what the best row has
# over the usual ones; beside what one more defense changes.
CLAIMED = (
    *(
        (f"mini-cifar10-{at}{ours}", f"mini-cifar10-{at}{other}")
        for ours, others in (
            ("mpd-sgr", ("reg", "stog", "dlif", "feel", "sr")),
            ("mpd-sgr-mild", ("reg", "sr", "mpd-sgr")),
            ("tgo", ("reg", "sr")),
        )
        for at in ("", "at-")
        for other in others
    ),
    *(("mini-cifar10-best", f"mini-cifar10-{other}") for other in ("at-sr", "at", "free-at", "trades")),
)
