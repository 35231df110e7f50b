"""Attacks: functions of (model, images, labels, threat, how) that return images and outcomes."""

from spikeproof.attacks.craft import Attacked, Crafting, Precision, check_batch, crafting
from spikeproof.attacks.gradient_sign import fgsm, rfgsm
from spikeproof.attacks.judge import evaluating, judge
from spikeproof.attacks.projected_gradient import ascend, bim, pgd
from spikeproof.attacks.stable_adaptive import sa_pgd

__all__ = [
    "Attacked",
    "Crafting",
    "Precision",
    "ascend",
    "bim",
    "check_batch",
    "crafting",
    "evaluating",
    "fgsm",
    "judge",
    "pgd",
    "rfgsm",
    "sa_pgd",
]
