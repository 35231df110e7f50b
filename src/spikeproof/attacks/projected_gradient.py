"""PGD (Madry et al. 2018) and BIM (Kurakin et al. 2017)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Craft, Crafting, Pursuit, check_batch, crafting
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf, parse_radius


def pgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    steps: int = 20,
    step_size: float | str | None = None,
    random_start: bool = True,
    keep: Literal["best", "last"] = "best",
) -> Attacked:
    """x <- P(x + a sign(grad CE)), from a uniform start in the ball (BIM: from the image itself).

    Args:
        steps: k.
        step_size: a, in pixel units, also as text ("2.55/255", the papers' for PGD-7 at 8/255); 2.5 eps / k by default.
        random_start: False gives BIM.
        keep: "best" ends with the strongest image found, chasing only samples still right; "last" is the papers'
            protocol, the last iterate of every sample, kept for comparison with published numbers.

    Raises:
        SpikeproofError: steps < 1, a step size that is not positive, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> found = pgd(model, images, labels, Linf(0.1), steps=5)
        >>> bool((found.images - images).abs().max() <= 0.1 + 1e-6)
        True
    """
    images = check_batch(images, labels)
    if steps < 1:
        raise SpikeproofError(f"PGD needs steps >= 1, got {steps}.")
    if keep not in ("best", "last"):
        raise SpikeproofError(f"PGD keeps the 'best' image or the 'last', not {keep!r}.")
    size = 2.5 * threat.radius / steps if step_size is None else parse_radius(step_size, "step size")
    if step_size is not None and size == 0:
        raise SpikeproofError("PGD's step size must be positive, got 0; leave it out for 2.5 radius / steps.")
    with crafting(model, how or Crafting()) as craft:
        if keep == "last":
            last = ascend(craft, images, labels, threat, steps=steps, step_size=size, random_start=random_start)
            return Attacked(last, craft.judge(last).argmax(1) == labels)

        start = uniform_start(images, threat) if random_start else images
        pursuit = Pursuit(craft, images, labels)
        current, original, targets = (part[pursuit.index] for part in (start, images, labels))
        for _ in range(steps):
            if len(targets) == 0:
                break
            gradient, logits = craft.gradient(current, targets)
            kept = pursuit.offer(current, logits)
            if kept is not None:
                current, original, targets, gradient = (p[kept] for p in (current, original, targets, gradient))
            current = threat.project(current + size * gradient.sign(), original)
        return pursuit.finish(current)


bim = partial(pgd, random_start=False)
bim.__doc__ = """PGD from the image itself (``random_start=False``); every other argument is ``pgd``'s."""


def uniform_start(images: Float[Tensor, "n c h w"], threat: Linf) -> Float[Tensor, "n c h w"]:
    """x + U(-eps, eps), clipped to [0, 1]."""
    return threat.project(images + (2 * torch.rand_like(images) - 1) * threat.radius, images)


def ascend(
    craft: Craft,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    *,
    steps: int,
    step_size: float,
    random_start: bool,
) -> Float[Tensor, "n c h w"]:
    """The bare projected gradient-sign ascent on every sample; its last iterate, unjudged."""
    current = uniform_start(images, threat) if random_start else images
    for _ in range(steps):
        gradient, _ = craft.gradient(current, labels)
        current = threat.project(current + step_size * gradient.sign(), images)
    return current
