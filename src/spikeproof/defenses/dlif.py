"""DLIF neurons and MPPD (Ding et al., ICML 2024), and MPPD-TV's L1 norm (ICLR 2026): a small effect of attacks.

As the 2024 code has it. Ours: the training forward of the perturbed images comes before that of the clean ones, which
only batch norm's running statistics see; the perturbed images are crafted in float32 unless asked otherwise (their
autocast has no loss scaling there, so small gradients can vanish).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import crafting, cross_entropy_of
from spikeproof.defenses.defense import Defense, Needs, Step, watch
from spikeproof.defenses.foreign import own_sites
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import Record, sites
from spikeproof.threat import Eps, parse_eps


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class DLIF(Defense):
    """Neurons of decay tau whose currents have a learned factor for each step; a loss of clean x and perturbed x'::

        u[t] = tau m[t-1] + p[t] I[t]                                 at every site, p = 1 at the start
        L = kappa CE(f(x)) + (1 - kappa) CE(f(x')) + alpha mean |y[t]|^n
        y[t] = tau y[t-1] + (I(x)[t] - I(x')[t])                      at the last site, I(x) a constant

    y is what the perturbation leaves in a potential that never fires; the mean is over steps, samples and neurons, with
    n = 2 of the 2024 paper or n = 1 of MPPD-TV. x' is one step from a random start, cut to [0, 1], or noise, not cut::

        x' = x + start N(0, 1) + eps sign(grad CE at x + start N(0, 1))      "fgsm", in eval mode
        x' = x + std N(0, 1)                                                 "gaussian"

    y is taken before the factor p, as in that code, so a larger p at the last site can undo what y takes off its
    currents.

    A step costs a second forward and backward, and with "fgsm" another of each to craft. Other defenses' penalties
    watch the forward of x'; logits and training accuracy are those of x'. With :class:`REG` it is the papers' RAT.

    In another library's network the loss is the same, with tau in y alone: decays and gains stay as they are.

    Args:
        alpha: >= 0; 1 with "l2", 2.5 to 3 with "l1"; 0 leaves y out.
        kappa: in [0, 1].
        norm: "l2" or "l1", n.
        perturbation: "fgsm" or "gaussian".
        eps: step of "fgsm" in pixels of [0, 1], also as text, "4/255".
        start: standard deviation of the start of "fgsm", in pixels.
        std: standard deviation of "gaussian", in pixels.
        decay: tau, of training and of the network that results.

    Raises:
        SpikeproofError: a number out of range, an unknown name, a model without sites, or sites whose gain another
            defense made.

    Example:
        >>> DLIF(alpha=2.5, norm="l1").decay
        0.99

    Source: Ding et al. 2024 (ICML), as their code has it; the L1 norm is MPPD-TV's (ICLR 2026). Deviations: the forward
    of x' comes before that of x, and x' is crafted in float32 unless asked otherwise.
    """

    alpha: float = 1.0
    kappa: float = 0.5
    norm: Literal["l2", "l1"] = "l2"
    perturbation: Literal["fgsm", "gaussian"] = "fgsm"
    eps: Eps = 4 / 255
    start: Eps = 0.001
    std: Eps = 8 / 255
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise SpikeproofError(f"DLIF's alpha must be a number >= 0, got {self.alpha}; 1 is usual.")
        if not 0 <= self.kappa <= 1:
            raise SpikeproofError(f"DLIF's kappa is the clean images' share of the loss in [0, 1], got {self.kappa}.")
        if self.norm not in ("l2", "l1"):
            raise SpikeproofError(f"DLIF's norm is 'l2' or 'l1', not {self.norm!r}.")
        if self.perturbation not in ("fgsm", "gaussian"):
            raise SpikeproofError(f"DLIF's perturbation is 'fgsm' or 'gaussian', not {self.perturbation!r}.")
        for name, what in (("eps", "eps"), ("start", "standard deviation"), ("std", "standard deviation")):
            object.__setattr__(self, name, parse_eps(getattr(self, name), what))
        if not 0 <= self.decay <= 1:
            raise SpikeproofError(f"DLIF's decay must lie in [0, 1], got {self.decay}; 0.99 is the paper's.")

    @property
    def step_cost(self) -> float:
        return 3.2 if self.perturbation == "fgsm" else 2.2

    @property
    def needs(self) -> Needs:
        return Needs(currents=self.alpha > 0)

    @property
    def forwards(self) -> int:
        return 2

    @property
    def perturbs(self) -> bool:
        return True

    @property
    def replaces_loss(self) -> bool:
        return True

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the gains", "the decays"})

    @property
    def elsewhere(self) -> str:
        return "takes its loss, and decays and gains stay as they are"

    def install(self, model: nn.Module) -> None:
        """Set the decay and put a gain for each step at every site of ours."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("DLIF learns at spiking sites and this model has none.")
        like = next(model.parameters())
        for name, site in own_sites(model).items():
            site.neuron = dataclasses.replace(site.neuron, decay=self.decay)
            if site.gain is None:
                site.gain = nn.Parameter(like.new_ones(site.num_steps, 1))
            elif site.gain.shape != (site.num_steps, 1):
                raise SpikeproofError(
                    f"DLIF learns one gain a step, and {name} has {site.gain.numel()} of another defense; keep one of "
                    "the two."
                )

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """x': one step from a random start, in [0, 1], or the noisy images."""
        noise = step.gaussian()
        if self.perturbation == "gaussian":
            return step.clean + parse_eps(self.std) * noise
        started = step.clean + parse_eps(self.start) * noise
        with crafting(step.model, step.crafting()) as craft:
            slope, _ = craft.gradient(started, cross_entropy_of(step.labels, known=True))
        return (started + parse_eps(self.eps) * slope.sign()).clamp(0, 1)

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """L of both forwards; the one of x is made here."""
        with watch(step.model, Needs(currents=True)) as record:
            clean = step.forward(step.clean)
        by_clean = self.kappa * cross_entropy(clean, step.labels)
        loss = by_clean + (1 - self.kappa) * cross_entropy(step.logits, step.labels)
        if self.alpha > 0:
            steps = list(sites(step.model).values())[-1].num_steps
            left = leftover(last_currents(record).detach(), last_currents(step.record), steps, self.decay)
            loss = loss + self.alpha * (left.square() if self.norm == "l2" else left.abs()).mean()
        return loss


def last_currents(record: Record) -> Float[Tensor, "k n *many"]:
    """What the last site integrates, in float32 at least: [T or 1, N, C, ...].

    Args:
        record: of a forward that recorded currents.
    """
    currents = list(record.values())[-1].currents
    assert currents is not None  # the training loop records what `needs` names
    return currents.to(torch.promote_types(currents.dtype, torch.float32))


def leftover(
    clean: Float[Tensor, "k n *many"], perturbed: Float[Tensor, "k n *many"], num_steps: int, decay: float
) -> Float[Tensor, "t n *many"]:
    """y[t] = decay y[t-1] + (clean[t] - perturbed[t]), from zero.

    Args:
        clean, perturbed: the currents; K is T, or 1 for currents that are the same at every step.
        num_steps: T.
        decay: tau, in [0, 1].

    Example:
        >>> leftover(torch.ones(1, 1), torch.zeros(1, 1), 3, 0.5).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    difference = (clean - perturbed).expand(num_steps, *clean.shape[1:])
    y, by_step = torch.zeros_like(difference[0]), []
    for drive in difference:
        y = decay * y + drive
        by_step.append(y)
    return torch.stack(by_step)
