"""Attacks: functions of (model, images, labels, threat, how) that return images and outcomes."""

from spikeproof.attacks.craft import Attacked, Craft, Crafting, Precision, check_batch, crafting
from spikeproof.attacks.gradient_sign import ffgsm, fgsm, rfgsm
from spikeproof.attacks.judge import evaluating, judge
from spikeproof.attacks.objective import (
    cross_entropy_of,
    divergence_of,
    dlr_of,
    margin_of,
)
from spikeproof.attacks.projected_gradient import SteepestStep, bim, iterated_rfgsm, mi_fgsm, pgd
from spikeproof.attacks.pursuit import Pursuit, chase, climb
from spikeproof.attacks.stable_adaptive import sa_pgd

__all__ = [
    "Attacked",
    "Craft",
    "Crafting",
    "Precision",
    "Pursuit",
    "SteepestStep",
    "bim",
    "chase",
    "check_batch",
    "climb",
    "crafting",
    "cross_entropy_of",
    "divergence_of",
    "dlr_of",
    "evaluating",
    "ffgsm",
    "fgsm",
    "iterated_rfgsm",
    "judge",
    "margin_of",
    "mi_fgsm",
    "pgd",
    "rfgsm",
    "sa_pgd",
]
