"""Adversarial training (Madry et al. 2018) as SNN-RAT does it: the whole batch adversarial, crafted in eval mode.

"fgsm-rs" is the one step from a random start of Wong et al. (2020, "Fast is better than free"). They craft in train
mode; here every attack crafts in eval mode.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from spikeproof.attacks import SteepestStep, climb, crafting, cross_entropy_of
from spikeproof.defenses.defense import Defense, Step
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.threat import Eps, Linf, OptionalEps, parse_eps


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Defense):
    """Train on x + delta with delta found by FGSM, FGSM-RS or PGD-k on the model itself, through BPTT; no clean term.

    FGSM-RS and PGD start at x0, uniform in the ball, and step by a; P projects to the ball and to [0, 1]::

        x <- P(x + a sign(grad CE(f(x), y)))

    The model crafts in eval mode (running batch statistics, no noise unless the model keeps it at inference), then
    trains on the batch in train mode.

    Args:
        eps: radius in pixels of [0, 1], also as text, "2/255".
        attack: "fgsm" (one step of eps from the image; the published RAT checkpoint), "fgsm-rs" or "pgd".
        steps: PGD's k; MPD-SGR's tables use 2.
        step_size: a. By default 1.25 eps for FGSM-RS, as Wong et al. found best, and eps / 2 for PGD, which is 1/255
            at the papers' 2/255. FGSM takes none.

    Raises:
        SpikeproofError: an impossible radius, steps < 1, or a step size that is not positive.

    Example:
        >>> AdversarialTraining(eps="2/255").attack
        'fgsm'

    Source: Madry et al. 2018 (ICLR), Eq. 2.1, as SNN-RAT (Ding et al. 2022) trains; "fgsm-rs" is Wong et al. 2020
    (ICLR). Deviation: every attack crafts in eval mode.
    """

    label: ClassVar[str] = "AT"

    eps: Eps = 2 / 255
    attack: Literal["fgsm", "fgsm-rs", "pgd"] = "fgsm"
    steps: int = 2
    step_size: OptionalEps = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_eps(self.eps))
        if self.attack not in ("fgsm", "fgsm-rs", "pgd"):
            raise SpikeproofError(f"Adversarial training crafts by 'fgsm', 'fgsm-rs' or 'pgd', not {self.attack!r}.")
        if self.steps < 1:
            raise SpikeproofError(f"Adversarial training needs steps >= 1, got {self.steps}.")
        if self.step_size is not None:
            object.__setattr__(self, "step_size", parse_eps(self.step_size, "step size"))
            if self.step_size == 0:
                raise SpikeproofError("Adversarial training needs a step_size > 0; leave it out for the attack's own.")

    @property
    def step_cost(self) -> float:
        return 1 + 0.45 * (self.steps if self.attack == "pgd" else 1)

    @property
    def perturbs(self) -> bool:
        return True

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """The batch's adversarial images, in the ball and in [0, 1]."""
        threat = Linf(self.eps)
        default = {"fgsm": threat.eps, "fgsm-rs": 1.25 * threat.eps, "pgd": threat.eps / 2}[self.attack]
        size = default if self.step_size is None or self.attack == "fgsm" else parse_eps(self.step_size)
        steps = self.steps if self.attack == "pgd" else 1
        with crafting(step.model, step.crafting()) as craft:
            start = step.clean if self.attack == "fgsm" else threat.random_start(step.clean)
            rule = SteepestStep(threat, size)
            return climb(
                craft, step.clean, start, rule, steps=steps, objective=cross_entropy_of(step.labels, known=True)
            )
