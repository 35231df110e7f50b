"""SPSA: an attack by queries alone (Uesato et al. 2018), which no masked gradient can mislead."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.carlini_wagner import lead_of
from spikeproof.attacks.craft import Attacked, Craft, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import Objective
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts, real
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf

_AT_ONCE = 512  # images in one forward


@attack("SPSA", norms=("linf",))
def spsa(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    steps: int = 20,
    samples: int = 128,
    delta: float = 0.01,
    learning_rate: float = 0.01,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """Adam's ascent of the lead of a wrong class, its gradient estimated from random directions and their opposites::

        g = mean over i of (L(x + delta v_i) - L(x - delta v_i)) / (2 delta) v_i,    v_i in {-1, 1}^D,
        x <- P(x + Adam(g)),    L = max_{j != y} z_j - z_y,  or  z_t - max_{j != t} z_j  with a target t

    It starts anywhere in the ball, as the authors' code does. Queries may lie delta outside ball and box, as in the
    paper; what is returned does not. Any iterate counts and broken samples leave. ``how.source`` has no part in it.
    Unlike the paper's one attack per image, samples of a batch draw their own directions side by side.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        steps: Adam's.
        samples: queries in each estimate, an even number: samples / 2 directions v_i, each with its opposite. The paper
            goes up to 8192.
        delta: how far from the image to query; by default the paper's. A spiking network's coarse steps may ask for
            more: of 56 digits 0.01 left 23 standing and 0.03 left 10, at a radius of 0.15.
        learning_rate: Adam's, in pixel units.
        targets: classes to be reached instead of any mistake.

    Raises:
        SpikeproofError: steps < 1, samples that are odd or < 2, a delta or learning rate that is not positive, or
            images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> attacked = spsa(model, images, labels, Linf(0.1), steps=2, samples=8)
        >>> bool((attacked.images - images).abs().max() <= 0.1 + 1e-6)
        True
    """
    counts("SPSA", steps=steps, samples=samples)
    if samples % 2:
        raise SpikeproofError(f"SPSA queries in pairs: samples must be an even number >= 2, got {samples}.")
    for name, value in (("delta", delta), ("learning rate", learning_rate)):
        real(value, "SPSA", name, 0, above=True)
    with crafting(model, how or Crafting()) as craft:
        started = threat.random_start(images)
        pursuit = Pursuit(craft, images, labels, targets)
        current, adam = started[pursuit.index], _Adam(learning_rate)
        for _ in range(steps):
            if len(pursuit) == 0:
                break
            gradient = estimate(craft, current, pursuit.objective(lead_of), pairs=samples // 2, delta=delta)
            current = threat.project(current + adam.ascent(gradient), pursuit.images)
            kept = pursuit.offer(current, craft.logits(current))
            if kept is not None:
                current = current[kept]
                adam.keep(kept)
        return pursuit.finish()


def estimate(
    craft: Craft, images: Float[Tensor, "n c h w"], objective: Objective, *, pairs: int, delta: float
) -> Float[Tensor, "n c h w"]:
    """The gradient of each sample's objective, estimated from opposite queries along random signs (see :func:`spsa`).

    Args:
        craft: the network under attack.
        images: x.
        objective: L, of logits [n,K] a number for each sample.
        pairs: how many directions v_i, 1 or more; twice as many queries of each sample.
        delta: how far a query lies from x in each pixel. Queries are clipped to [0, 1].
    """
    total = torch.zeros_like(images)
    together = max(_AT_ONCE // (2 * len(images)), 1)
    for first in range(0, pairs, together):
        count = min(together, pairs - first)
        signs = 2 * torch.randint(0, 2, (count, *images.shape), device=images.device).to(images.dtype) - 1
        # Clipped: a query must be an image.
        up, down = (_losses(craft, (images + way * signs).clamp(0, 1), objective) for way in (delta, -delta))
        slope = ((up - down) / (2 * delta)).to(images.dtype)
        slope = torch.where(slope.isfinite(), slope, 0.0)
        total += (slope[:, :, None, None, None] * signs).sum(0)
    return total / pairs


def _losses(craft: Craft, queries: Tensor, objective: Objective) -> Tensor:
    """Of queries [count, n, c, h, w] the objective [count, n]."""
    logits = torch.cat([craft.logits(chunk) for chunk in queries.flatten(0, 1).split(_AT_ONCE)])
    return torch.stack([objective(of_one) for of_one in logits.unflatten(0, queries.shape[:2])])


class _Adam:
    """Adam's ascent (Kingma and Ba 2015, its default constants) for samples that leave."""

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate, self._steps = learning_rate, 0
        self._first: Tensor | None = None
        self._second: Tensor | None = None

    def ascent(self, gradient: Tensor) -> Tensor:
        if self._first is None or self._second is None:
            self._first = self._second = torch.zeros_like(gradient)
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient.square()
        mean, square = self._first / (1 - 0.9**self._steps), self._second / (1 - 0.999**self._steps)
        return self._learning_rate * mean / (square.sqrt() + 1e-8)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        if self._first is not None and self._second is not None:
            self._first, self._second = self._first[kept], self._second[kept]


# The paper's delta of 0.01 flips too few spikes for the logits to change.
FORMS = (
    Form(
        name="SPSA",
        attack=spsa,
        kind="black-box",
        number=20,
        settings={"delta": 0.03},
        passes=lambda steps: 128.0 * steps / 3,
    ),
)
