"""APGD in L1 (Croce and Hein 2021, ICML, "Mind the box"): sparse steps whose sparsity follows the best perturbation."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import find_objective
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts
from spikeproof.threat import L1

_AT_FIRST = 0.2  # of all values, that a step moves
_SPARSER = 1.5  # how many times fewer values a step moves than the best perturbation has
_STILL = 0.95  # a perturbation of more than this share of the values it had is as sparse as it gets
_SMALLER, _LEAST = 1.5, 10.0  # the step is divided by the first, and never more than by the second
_CHECKED = 0.04  # of the steps, between two checks


@attack("APGD-L1", norms=("l1",))
def apgd_l1(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: L1,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    restarts: int = 1,
    objective: str = "ce",
) -> Attacked:
    """Steps along the sign of the k largest values of the gradient, projected to ball and box together::

        x <- P(x + eta s / ||s||_1),   s = sign(grad L) where |grad L| is among the k largest,   eta = eps at first

    k is a fifth of all values at first. Every 0.04 N steps it becomes 2/3 of the values that the best perturbation
    moves. If that moves at least 5 % fewer than at the check before, the sample goes back to its best point with eta =
    eps; else eta is divided by 1.5, down to eps / 10. The start is the projection of a normal draw.

    Follows the authors' code (pyautoattack 0.2.0), step by step from the same start. Left out is its start in larger
    balls, as AutoAttack's L1 version has it. Deviations: a sample leaves as soon as the judge says that it is broken;
    one never broken keeps its image of highest cross-entropy; and values that only rounding moved do not count as
    moved.

    Args:
        steps: N.
        restarts: how often in all; each new start chases only what the ones before left.
        objective: L: "ce", "dlr" or "margin".

    Raises:
        SpikeproofError: steps or restarts < 1, an unknown objective, another threat than L1, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(2, 1, 8, 8)
        >>> found = apgd_l1(model, images, torch.tensor([3, 7]), L1(2.0), steps=5)
        >>> bool((L1(2.0).distance(found.images, images) <= 2.0 + 1e-5).all())
        True
    """
    counts("APGD-L1", steps=steps, restarts=restarts)
    maker = find_objective(objective)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        for _ in range(restarts):
            if len(pursuit) == 0:
                break
            clean = pursuit.images
            current = threat.project(clean + torch.randn_like(clean), clean)
            climb = _SparseClimb(threat, steps, current)
            for step in range(steps):
                if len(pursuit) == 0:
                    break
                gradient, logits = craft.gradient(current, pursuit.objective(maker))
                kept = pursuit.offer(current, logits)
                if kept is not None:
                    current, gradient, logits = current[kept], gradient[kept], logits[kept]
                    climb.keep(kept)
                climb.note(current, gradient, pursuit.objective(maker)(logits))
                current, gradient = climb.check(current, pursuit.images, gradient, step)
                current = climb.move(current, pursuit.images, gradient)
            if len(pursuit):
                pursuit.offer(current, craft.judge(current).float())
        return pursuit.finish()


class _SparseClimb:
    """What is remembered of each sample: its best point, its step, and how sparse its next steps are."""

    def __init__(self, threat: L1, steps: int, start: Float[Tensor, "n c h w"]) -> None:
        self._threat, self._every = threat, max(int(_CHECKED * steps), 1)
        self._values = start[0].numel()
        self._share = torch.full((len(start),), _AT_FIRST, device=start.device)
        self._moved = torch.full_like(self._share, float(self._values))
        self._size = torch.full_like(start[:, :1, :1, :1], threat.eps)
        self._best, self._best_gradient = start, torch.zeros_like(start)
        self._best_loss = torch.full_like(self._share, -torch.inf)

    def note(self, current: Tensor, gradient: Tensor, loss: Float[Tensor, " n"]) -> None:
        """See what the last step has brought."""
        better = loss > self._best_loss
        self._best_loss = torch.where(better, loss, self._best_loss)
        self._best = torch.where(_wide(better), current, self._best)
        self._best_gradient = torch.where(_wide(better), gradient, self._best_gradient)

    def check(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """At every check, follow the sparsity of the best point; go back to it where that still falls."""
        if step == 0 or step % self._every:
            return current, gradient
        moved = (self._best != original).flatten(1).sum(1).to(self._share.dtype)
        falls = _wide(moved / self._moved < _STILL)
        self._share, self._moved = moved / self._values / _SPARSER, moved
        eps = self._threat.eps
        smaller = (self._size / _SMALLER).clamp(eps / _LEAST, eps)
        self._size = torch.where(falls, torch.full_like(self._size, eps), smaller)
        return torch.where(falls, self._best, current), torch.where(falls, self._best_gradient, gradient)

    def move(self, current: Tensor, original: Tensor, gradient: Tensor) -> Tensor:
        """The next image."""
        sizes = gradient.abs().flatten(1)
        at = ((1 - self._share) * self._values).clamp(0, self._values - 1).long()
        least = sizes.sort(1).values.gather(1, at[:, None])
        chosen = _shaped(gradient.sign().flatten(1) * (sizes >= least), gradient)
        length = chosen.abs().sum((1, 2, 3), keepdim=True) + 1e-10
        return self._threat.project(current + self._size * chosen / length, original)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        for name, remembered in vars(self).items():
            if isinstance(remembered, Tensor):
                setattr(self, name, remembered[kept])


def _wide(each: Tensor) -> Tensor:
    return each[:, None, None, None]


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    return flat.view(like.shape)


FORMS = (
    # Its number is the radius, 12 as RobustBench's L1 threats and those of the paper; the steps are APGD's usual.
    Form(
        name="APGD-L1", attack=apgd_l1, kind="fixed", number=12, norm="l1", ball=L1, most=10_000, passes=lambda _: 100.0
    ),
)
