"""FAB-T: the nearest mistake, sought from both sides of the linearised boundary (Croce and Hein 2020, ICML)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, nine_times
from spikeproof.attacks.multi_targeted import likeliest_wrong, towards
from spikeproof.attacks.objective import Objective, margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import counts
from spikeproof.threat import Linf, Threat

# The paper's constants, and AutoAttack's.
_MOST_BIAS = 0.1  # alpha_max: how strongly the walk is drawn to the original
_OVERSHOOT = 1.05  # eta
_RETREAT = 0.9  # beta: what is left of the perturbation after a mistake


@attack("FAB-T")
def fab_targeted(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    classes: int = 9,
    restarts: int = 1,
) -> Attacked:
    """Towards each of the likeliest wrong classes t in turn, a walk along the boundary z_t = z_y, near the original::

        d1, d2 = the least moves of x and of the original x0 in [0, 1] to where z_t - z_y, linearised at x, is zero
        x <- clip((1 - a)(x + 1.05 d1) + a (x0 + 1.05 d2)),    a = min(|d1| / (|d1| + |d2|), 0.1)
        x <- x0 + 0.9 (x - x0)                                 where x is a mistake

    Any mistake within the ball counts. Each class is chased only for samples still right. Iterates may leave the ball
    and are not projected to it; only those that lie in it count.

    Follows the authors' code (pyautoattack 0.2.0). Deviations: a sample leaves with its first mistake within the ball
    (theirs goes on to the nearest one: the outcome is the same); no gradient is too small to count in L2 (below 1e-8
    theirs is zero); the hyperplane's distance is taken from the logits instead of through its offset.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf or L2: the norm in which moves are least, and the ball.
        steps: of each walk.
        classes: how many of the likeliest wrong classes by the clean logits; all of them where there are fewer.
        restarts: walks for each class: the first from the image itself, others from a random point eps / 2 away.

    Raises:
        SpikeproofError: steps, classes or restarts < 1, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> fab_targeted(model, images, labels, Linf(0.1), steps=5, classes=2).correct.shape
        torch.Size([2])
    """
    counts("FAB-T", steps=steps, classes=classes, restarts=restarts)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        clean_logits = craft.judge(images).float()
        for wrong in likeliest_wrong(clean_logits, labels, classes):
            for restart in range(restarts):
                start = pursuit.images
                if restart > 0:
                    start = (start + threat.eps / 2 * threat.random_direction(start)).clamp(0, 1)
                _walk(pursuit, start, threat, steps, towards(wrong, margin_of, pursuit), clean_logits)
        return pursuit.finish()


def _walk(
    pursuit: Pursuit,
    start: Float[Tensor, "n c h w"],
    threat: Threat,
    steps: int,
    maker: Callable[..., Objective],
    clean_logits: Float[Tensor, "m k"],
) -> None:
    current = start
    for _ in range(steps):
        if len(pursuit) == 0:
            return
        gradient, logits = pursuit.craft.gradient(current, pursuit.objective(maker))
        originals = pursuit.images
        current = _step(current, originals, gradient, pursuit.objective(maker)(logits), threat)
        logits = pursuit.craft.logits(current)
        mistaken = logits.argmax(1) != pursuit.labels
        # What lies outside the ball is no candidate: the clean image stands in for it.
        allowed = threat.distance(current, originals) <= threat.eps
        kept = pursuit.offer(
            torch.where(allowed[:, None, None, None], current, originals),
            torch.where(allowed[:, None], logits, clean_logits[pursuit.index]),
        )
        nearer = originals + _RETREAT * (current - originals)
        current = torch.where(mistaken[:, None, None, None], nearer, current)
        if kept is not None:
            current = current[kept]


def _step(current: Tensor, originals: Tensor, gradient: Tensor, gap: Float[Tensor, " n"], threat: Threat) -> Tensor:
    """One move; ``gap`` is z_t - z_y at ``current``, ``gradient`` its gradient there."""
    gap = gap.to(current.dtype)
    gap_of_original = gap + (gradient * (originals - current)).flatten(1).sum(1)
    move = least_move(current, gradient, gap, threat)
    move_of_original = least_move(originals, gradient, gap_of_original, threat)
    # The floor keeps two moves of zero from being divided.
    far, far_of_original = (_length(each, threat).clamp_min(1e-8) for each in (move, move_of_original))
    bias = (far / (far + far_of_original)).clamp_max(_MOST_BIAS)[:, None, None, None]
    biased = (current + _OVERSHOOT * move) * (1 - bias) + (originals + _OVERSHOOT * move_of_original) * bias
    return biased.clamp(0, 1)


def least_move(
    points: Float[Tensor, "n c h w"],
    normal: Float[Tensor, "n c h w"],
    gap: Float[Tensor, " n"],
    threat: Threat,
) -> Float[Tensor, "n c h w"]:
    """The move d of least norm that closes the gap, gap + <normal, d> = 0, with the point staying in [0, 1].

    Every pixel goes its way (against the gap) at a speed v_i, 1 in Linf and |w_i| in L2, until the wall or until all
    stop together at time s, where sum_i |w_i| min(s v_i, room_i) = |gap|. That sum is piecewise linear in s, so one
    sort by the times at which pixels meet the wall finds s exactly. Where the gap cannot be closed, all pixels go to
    the wall.

    Args:
        points: x, in [0, 1].
        normal: w, the gradient of the gap at x.
        gap: z_t - z_y at x, linearised; its sign says on which side of the boundary x lies.
        threat: gives the norm; its radius is not used.

    Returns:
        d; zero where w is zero.

    Example:
        >>> point, normal = torch.tensor([[[[0.5, 0.9]]]]), torch.tensor([[[[1.0, 2.0]]]])
        >>> least_move(point, normal, torch.tensor([-0.5]), Linf(1))
        tensor([[[[0.3000, 0.1000]]]])
    """
    # The plane is the same at any scale of w and gap; at this one no square of w underflows.
    largest = normal.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, 1)
    weight = normal.flatten(1) / scale[:, None]
    size, gap = weight.abs(), gap / scale
    way = -weight.sign() * torch.where(gap >= 0, 1, -1)[:, None]
    pixels = points.flatten(1)
    room = torch.where(way > 0, 1 - pixels, pixels)
    speed = torch.ones_like(size) if isinstance(threat, Linf) else size
    time = _time_to_close(size, speed, room, gap.abs())
    return (way * torch.minimum(time[:, None] * speed, room)).view_as(points)


def _time_to_close(size: Tensor, speed: Tensor, room: Tensor, gap: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """s with sum_i size_i min(s speed_i, room_i) = gap, or when the last pixel meets its wall if there is no such s."""
    walls, order = torch.where(size > 0, room / torch.where(size > 0, speed, 1), 0).sort(1)
    rates = (size * speed).gather(1, order)
    # Column j: with j pixels at their walls, what those have closed, and how fast the others go on closing.
    closed = nn.functional.pad((size * room).gather(1, order).cumsum(1), (1, 0))
    rate = rates.sum(1, keepdim=True) - nn.functional.pad(rates.cumsum(1), (1, 0))
    stopped = (closed[:, 1:] + walls * rate[:, 1:] < gap[:, None]).sum(1, keepdim=True)
    left = gap[:, None] - closed.gather(1, stopped)
    time = left / rate.gather(1, stopped).clamp_min(torch.finfo(rate.dtype).tiny)
    return torch.minimum(time, walls[:, -1:])[:, 0].clamp_min(0)


def _length(moves: Tensor, threat: Threat) -> Float[Tensor, " n"]:
    return threat.distance(moves, torch.zeros_like(moves))


FORMS = (Form(name="FAB-T", attack=fab_targeted, kind="fixed", number=100, passes=nine_times),)
