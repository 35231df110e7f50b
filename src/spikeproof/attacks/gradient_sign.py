"""One-step attacks: FGSM (Goodfellow et al. 2015), R+FGSM (Tramer et al. 2018), FFGSM (Wong et al. 2020).

All three serve L2 too, with the normalised gradient in the place of its sign (FGML2 in StoG's code).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, once
from spikeproof.attacks.objective import cross_entropy_of
from spikeproof.threat import Linf, Threat


@attack("FGSM")
def fgsm(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """x + eps sign(grad CE(f(x), y)), clipped to [0, 1]; in L2 x + eps grad / ||grad||. This one image counts.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf, or L2 where the gradient is normalised instead of signed.
        targets: classes to be reached; then x - eps sign(grad CE(f(x), target)).

    Returns:
        The image of each sample, broken or not, and the judge's verdict on it.

    Raises:
        SpikeproofError: images outside [0, 1], or labels that do not fit.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> fgsm(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf("8/255")).images.shape
        torch.Size([2, 1, 8, 8])

    Source: Goodfellow et al. 2015 (ICLR), section 4; clipped to [0, 1], which their equation leaves out.
    """
    with crafting(model, how or Crafting()) as craft:
        gradient, _ = craft.gradient(images, cross_entropy_of(labels, targets))
        attacked = threat.project(images + threat.eps * threat.steepest(gradient), images)
        return craft.verdict(attacked, labels, targets)


@attack("R+FGSM", norms=("linf",))
def rfgsm(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """R+FGSM: half the radius spent on a random sign, x' = clip(x + eps/2 sign(N(0,1))), then x' + eps/2 sign(grad).

    Two moves of eps/2 stay in the ball. torchattacks' RFGSM is another, iterated attack:
    :func:`spikeproof.attacks.iterated_rfgsm`.

    Args:
        model, images, labels, threat, how: as in :func:`spikeproof.attacks.pgd`; Linf only.
        targets: classes to be reached; the second move then goes down the target's cross-entropy.

    Returns:
        The image of each sample, broken or not, and the judge's verdict on it.

    Raises:
        SpikeproofError: images outside [0, 1], labels that do not fit, or a threat in L2.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> rfgsm(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf("8/255")).correct.shape
        torch.Size([2])

    Source: Tramer et al. 2018 (ICLR), with eps/2 for the random move as in SNN-RAT's and RGA's code.
    """
    with crafting(model, how or Crafting()) as craft:
        start = (images + threat.eps / 2 * torch.randn_like(images).sign()).clamp(0, 1)
        gradient, _ = craft.gradient(start, cross_entropy_of(labels, targets))
        attacked = threat.project(start + threat.eps / 2 * gradient.sign(), images)
        return craft.verdict(attacked, labels, targets)


@attack("FFGSM")
def ffgsm(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    step_size: float | str | None = None,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """FGSM from a uniform start in the ball, P(x0 + a sign(grad CE(f(x0), y))): as in fast training (FGSM-RS).

    Args:
        model, images, labels, threat, how: as in :func:`spikeproof.attacks.pgd`.
        step_size: a, in pixel units, also as text; 1.25 eps by default, as Wong et al. found best.
        targets: classes to be reached instead of any mistake.

    Raises:
        SpikeproofError: a step size that is not a number >= 0, images outside [0, 1], or labels that do not fit.
    """
    size = 1.25 * threat.eps if step_size is None else threat.parse(step_size, "step size")
    with crafting(model, how or Crafting()) as craft:
        start = threat.random_start(images)
        gradient, _ = craft.gradient(start, cross_entropy_of(labels, targets))
        attacked = threat.project(start + size * threat.steepest(gradient), images)
        return craft.verdict(attacked, labels, targets)


FORMS = (
    Form(name="FGSM", attack=fgsm, kind="protocol", passes=once, rank=0),
    Form(name="FFGSM", attack=ffgsm, kind="protocol", passes=once, rank=1),
    Form(name="R+FGSM", attack=rfgsm, kind="protocol", passes=once, rank=2),
)
