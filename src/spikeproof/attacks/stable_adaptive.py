"""SA-PGD: PGD with a stable, adaptive step (CVPR 2026, arXiv 2512.22522, as in its code, class ASSG_SAPGD)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting
from spikeproof.attacks.door import attack, check_start
from spikeproof.attacks.form import Form
from spikeproof.attacks.projected_gradient import iterate
from spikeproof.checked import counts
from spikeproof.gradients import ASSG
from spikeproof.threat import Linf

_PER_SAMPLE = (1, 2, 3)


@attack("SA-PGD", norms=("linf",), source=ASSG())
def sa_pgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    objective: str = "ce",
    targets: Int64[Tensor, " n"] | None = None,
    start: Float[Tensor, "n c h w"] | None = None,
) -> Attacked:
    """A momentum of normalised gradients over a running second moment, each step cut at eta, eta halved on schedule::

        m <- m/2 + g / mean|g|,    v <- 0.8 v + g^2 / mean(g^2)      (means over one sample; first step: no history)
        x <- P(x + clip(eta m / (sqrt(v) + 1e-12), -eta, eta)),      eta = eps, halved at APGD's checkpoints

    The default source is ASSG, as in the paper; any other may be given. A sample whose gradient is exactly zero keeps
    its m and v (the paper's code would divide by zero).

    Args:
        model, images, labels, threat: as in :func:`spikeproof.attacks.pgd`; Linf only.
        how: as there, but None is ``Crafting(source=ASSG())``.
        steps: N; checkpoints at 0.22 N, then windows shorter by 0.03 N each, not below 0.06 N. Any iterate counts.
        objective: "ce", "margin" or "dlr".
        targets: classes to be reached instead of any mistake.
        start: images in the ball to begin at, such as another attack's ``nearest``; by default a random point of the
            ball's border, as in the paper.

    Returns:
        The best image of each sample and the judge's verdict on it.

    Raises:
        SpikeproofError: steps < 1, images outside [0, 1], a start that does not fit them, or a threat in L2.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> sa_pgd(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), steps=5).correct.shape
        torch.Size([2])

    Source: arXiv 2512.22522 (CVPR 2026), as in its code, class ASSG_SAPGD. Deviations: a start of one's own, and a
    gradient of exactly zero.
    """
    counts("SA-PGD", steps=steps)
    begin = None if start is None else check_start(start, images, threat)

    def drawn(clean: Tensor) -> Tensor:
        return threat.project(clean + threat.eps * threat.random_direction(clean), clean)

    return iterate(
        model,
        images,
        labels,
        threat,
        how,
        rule=lambda: StableStep(threat, steps),
        steps=steps,
        start=drawn if begin is None else lambda _: begin,
        objective=objective,
        targets=targets,
    )


class StableStep:
    """SA-PGD's step, with its m, v and eta (see :func:`sa_pgd`).

    Args:
        threat: the ball; eta begins at its radius.
        steps: N, which decides when eta is halved.
    """

    def __init__(self, threat: Linf, steps: int) -> None:
        self._threat, self._size, self._halvings = threat, threat.eps, halving_steps(steps)
        self._first: Tensor | None = None
        self._second: Tensor | None = None

    def move(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The next images. The arguments are those of :class:`spikeproof.attacks.pursuit.Rule`."""
        if self._first is None or self._second is None:
            self._first = self._second = torch.zeros_like(current)
        largest = gradient.abs().amax(_PER_SAMPLE, keepdim=True)
        moving = largest > 0
        # Divide by the largest value first: squares of tiny gradients would underflow.
        unit = gradient / torch.where(moving, largest, 1)
        scale = torch.where(moving, unit.abs().mean(_PER_SAMPLE, keepdim=True), 1)
        power = torch.where(moving, (unit * unit).mean(_PER_SAMPLE, keepdim=True), 1)
        self._first = torch.where(moving, 0.5 * self._first + unit / scale, self._first)
        self._second = torch.where(moving, 0.8 * self._second + unit * unit / power, self._second)
        update = self._size * self._first / (self._second.sqrt() + 1e-12)
        moved = self._threat.project(current + update.clamp(-self._size, self._size), original)
        if step + 1 in self._halvings:
            self._size /= 2
        return moved

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Forget m and v of all samples but those at these places."""
        if self._first is not None and self._second is not None:
            self._first, self._second = self._first[kept], self._second[kept]


def halving_steps(steps: int) -> set[int]:
    """After how many steps eta is halved: APGD's checkpoints (Croce and Hein 2020), taken unconditionally.

    Args:
        steps: N, 1 or more.

    Example:
        >>> sorted(halving_steps(100))
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    window, least, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    checkpoints, at = set(), 0
    while at + window <= steps:
        at += window
        checkpoints.add(at)
        window = max(window - shrink, least)
    return checkpoints


FORMS = (
    Form(name="SA-PGD", attack=sa_pgd, kind="fixed", number=100),
    Form(name="SA-PGD-MARGIN", attack=sa_pgd, kind="fixed", number=100, settings={"objective": "margin"}),
    Form(name="SA-PGD-ON", attack=sa_pgd, kind="fixed", number=50, settings={"objective": "margin"}, continues=True),
)
