"""DDN: the direction and the norm of a perturbation, decoupled (Rony et al. 2019)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.carlini_wagner import Closest
from spikeproof.attacks.craft import Attacked, Craft, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import cross_entropy_of
from spikeproof.checked import counts, real
from spikeproof.errors import SpikeproofError
from spikeproof.threat import L2


@attack("DDN", norms=("l2",))
def ddn(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: L2,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    gamma: float = 0.05,
    initial_norm: float = 1.0,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """The closest mistake, by steps along the gradient and a norm that shrinks on success and grows on failure::

        d <- d + a_k g / ||g||,    e <- (1 -+ gamma) e,    d <- clip(x + e d / ||d||) - x,    a_k: cosine, 1 to 0.01

    g is the gradient of CE(f(x + d), y), or of -CE(f(x + d), target). Every iterate counts, once the judge confirms it
    in float32; the closest is kept. A zero gradient becomes a random direction, as in the authors' code. Unlike there,
    iterates are not rounded to 256 grey levels, and the last one is looked at too.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: an image further than its radius does not count, and the clean one comes back.
        steps: K.
        gamma: the share by which the norm changes in a step.
        initial_norm: e at the start; the paper's 1 suits images of 3x32x32.
        targets: classes to be reached instead of any mistake.

    Raises:
        SpikeproofError: steps < 1, a gamma outside (0, 1), an initial norm that is not positive, or images outside
            [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> attacked = ddn(model, images, labels, L2(2.0), steps=5)
        >>> bool((L2(2.0).distance(attacked.images, images) <= 2).all())
        True
    """
    counts("DDN", steps=steps)
    real(initial_norm, "DDN", "initial norm", 0, above=True)
    if real(gamma, "DDN", "gamma", 0, 1, above=True) == 1:
        raise SpikeproofError(f"DDN needs a gamma strictly between 0 and 1, got {gamma}; 0.05 is the paper's.")
    with crafting(model, how or Crafting()) as craft:
        closest = Closest(craft, images, labels, targets)
        if len(closest):
            _descend(craft, closest, threat, steps, gamma, initial_norm)
        return closest.finish(threat)


def _descend(craft: Craft, closest: Closest, threat: L2, steps: int, gamma: float, initial_norm: float) -> None:
    clean = closest.images
    # No image of the box is further away than its furthest corner, so the norm need not grow beyond.
    furthest = torch.maximum(clean, 1 - clean).flatten(1).norm(dim=1)
    norm = torch.full_like(furthest, initial_norm)
    current, objective = clean, cross_entropy_of(closest.labels, closest.targets)
    for step in range(steps):
        gradient, logits = craft.gradient(current, objective)
        adversarial = closest.offer(current, logits)
        norm = torch.minimum(norm * torch.where(adversarial, 1 - gamma, 1 + gamma), furthest)
        size = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        offset = current - clean + size * threat.steepest(_random_where_zero(gradient))
        current = (clean + norm[:, None, None, None] * threat.steepest(offset)).clamp(0, 1)
    closest.offer(current, craft.judge(current).float())


def _random_where_zero(gradient: Tensor) -> Tensor:
    zero = (gradient == 0).flatten(1).all(1)
    return torch.where(zero[:, None, None, None], torch.randn_like(gradient), gradient)


FORMS = (Form(name="DDN", attack=ddn, kind="protocol", number=100, norm="l2"),)
