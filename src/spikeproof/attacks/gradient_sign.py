"""One-step attacks: FGSM (Goodfellow et al. 2015) and R+FGSM (Tramer et al. 2018)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, check_batch, crafting
from spikeproof.attacks.projected_gradient import ascend
from spikeproof.threat import Linf


def fgsm(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
) -> Attacked:
    """x + eps sign(grad CE(f(x), y)), clipped to [0, 1].

    Raises:
        SpikeproofError: images outside [0, 1], or labels that do not fit.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> fgsm(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf("8/255")).images.shape
        torch.Size([2, 1, 8, 8])
    """
    images = check_batch(images, labels)
    with crafting(model, how or Crafting()) as craft:
        attacked = ascend(craft, images, labels, threat, steps=1, step_size=threat.radius, random_start=False)
        return Attacked(attacked, craft.judge(attacked).argmax(1) == labels)


def rfgsm(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
) -> Attacked:
    """R+FGSM: half the radius spent on a random sign, x' = clip(x + eps/2 sign(N(0,1))), then x' + eps/2 sign(grad).

    It stays in the ball by construction. As in SNN-RAT and RGA; torchattacks' RFGSM of the same name is another attack.

    Raises:
        SpikeproofError: images outside [0, 1], or labels that do not fit.
    """
    images = check_batch(images, labels)
    with crafting(model, how or Crafting()) as craft:
        start = (images + threat.radius / 2 * torch.randn_like(images).sign()).clamp(0, 1)
        gradient, _ = craft.gradient(start, labels)
        attacked = threat.project(start + threat.radius / 2 * gradient.sign(), images)
        return Attacked(attacked, craft.judge(attacked).argmax(1) == labels)
