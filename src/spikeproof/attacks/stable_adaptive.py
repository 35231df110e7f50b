"""SA-PGD: PGD with a stable, adaptive step (CVPR 2026, arXiv 2512.22522, as in its code, class ASSG_SAPGD)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, Pursuit, check_batch, crafting
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Assg
from spikeproof.threat import Linf

_PER_SAMPLE = (1, 2, 3)


def sa_pgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    steps: int = 100,
) -> Attacked:
    """A momentum of normalised gradients over a running second moment, each step cut at eta, eta halved on schedule::

        m <- m/2 + g / mean|g|,    v <- 0.8 v + g^2 / mean(g^2)      (means over one sample; first step: no history)
        x <- P(x + clip(eta m / (sqrt(v) + 1e-12), -eta, eta)),      eta = eps, halved at APGD's checkpoints

    The default source is ASSG, as in the paper; any other may be given. A sample whose gradient is exactly zero keeps
    its m and v (the paper's code would divide by zero).

    Args:
        steps: N; checkpoints at 0.22 N, then windows shorter by 0.03 N each, not below 0.06 N.

    Raises:
        SpikeproofError: steps < 1, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> sa_pgd(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), steps=5).correct.shape
        torch.Size([2])
    """
    images = check_batch(images, labels)
    if steps < 1:
        raise SpikeproofError(f"SA-PGD needs steps >= 1, got {steps}.")
    with crafting(model, how or Crafting(source=Assg())) as craft:
        direction = 2 * torch.rand_like(images) - 1
        start = images + threat.radius * direction / direction.abs().amax(_PER_SAMPLE, keepdim=True)
        pursuit = Pursuit(craft, images, labels)
        current, original, targets = (p[pursuit.index] for p in (threat.project(start, images), images, labels))
        first_moment, second_moment = torch.zeros_like(current), torch.zeros_like(current)
        halvings = halving_steps(steps)
        step_size = threat.radius
        for step in range(steps):
            if len(targets) == 0:
                break
            gradient, logits = craft.gradient(current, targets)
            kept = pursuit.offer(current, logits)
            if kept is not None:
                current, original, targets, gradient, first_moment, second_moment = (
                    part[kept] for part in (current, original, targets, gradient, first_moment, second_moment)
                )
            moving = gradient.abs().amax(_PER_SAMPLE, keepdim=True) > 0
            # Divide by the largest value first: squares of tiny gradients would underflow.
            unit = gradient / torch.where(moving, gradient.abs().amax(_PER_SAMPLE, keepdim=True), 1)
            scale = torch.where(moving, unit.abs().mean(_PER_SAMPLE, keepdim=True), 1)
            power = torch.where(moving, (unit * unit).mean(_PER_SAMPLE, keepdim=True), 1)
            first_moment = torch.where(moving, 0.5 * first_moment + unit / scale, first_moment)
            second_moment = torch.where(moving, 0.8 * second_moment + unit * unit / power, second_moment)
            update = step_size * first_moment / (second_moment.sqrt() + 1e-12)
            current = threat.project(current + update.clamp(-step_size, step_size), original)
            if step + 1 in halvings:
                step_size /= 2
        return pursuit.finish(current)


def halving_steps(steps: int) -> set[int]:
    """After how many steps eta is halved: APGD's checkpoints (Croce and Hein 2020), taken unconditionally."""
    window, least, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    checkpoints, at = set(), 0
    while at + window <= steps:
        at += window
        checkpoints.add(at)
        window = max(window - shrink, least)
    return checkpoints
