"""APGD: PGD with momentum whose step is halved where it stops helping (Croce and Hein 2020), and APGD-T."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack, check_start
from spikeproof.attacks.form import Form, nine_times
from spikeproof.attacks.multi_targeted import likeliest_wrong, towards
from spikeproof.attacks.objective import Objective, dlr_of, find_objective, margin_of
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.attacks.stable_adaptive import halving_steps
from spikeproof.checked import counts
from spikeproof.threat import Threat


@attack("APGD")
def apgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    restarts: int = 1,
    objective: str = "ce",
    targets: Int64[Tensor, " n"] | None = None,
    start: Float[Tensor, "n c h w"] | None = None,
) -> Attacked:
    """Steps of eta along the steepest direction d, with momentum, from a random point on the ball's border::

        z <- P(x + eta d(grad L)),    x <- P(x + 0.75 (z - x) + 0.25 (x - x_previous)),    eta = 2 eps at first

    At checkpoints (after 0.22 N steps, then windows shorter by 0.03 N each, not below 0.06 N) a sample whose loss rose
    in at most 75 % of the window's steps, or whose best loss stood still since a checkpoint that kept eta, halves eta
    and goes back to its best point.

    Follows the authors' code (pyautoattack 0.2.0): with the same seed the same samples are broken. Deviations: a
    sample leaves as soon as the judge says that it is broken, with that image (theirs keeps the last wrong one). One
    never broken keeps its image of highest cross-entropy, not the clean one. With several draws the loss is that of
    the mean logits, not of the last draw. In L2, gradients below 1e-12 are normalised like all others.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf, or L2 where the gradient is normalised instead of signed.
        steps: N.
        restarts: how often in all; each new start chases only what the ones before left.
        objective: L: "ce" (APGD-CE), "dlr" (APGD-DLR) or "margin".
        targets: classes to be reached instead of any mistake.
        start: images in the ball at which the first start begins, such as another attack's ``nearest``.

    Returns:
        The best image of each sample and the judge's verdict on it.

    Raises:
        SpikeproofError: steps or restarts < 1, an unknown objective, images outside [0, 1], or a start that does not
            fit them.

    Example:
        >>> from spikeproof.models import create_model
        >>> from spikeproof.threat import Linf
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> apgd(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), steps=5).correct.shape
        torch.Size([2])

    Source: Croce and Hein 2020 (ICML), algorithm 1.
    """
    counts("APGD", steps=steps, restarts=restarts)
    maker = find_objective(objective)
    begin = None if start is None else check_start(start, images, threat)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels, targets)
        for number in range(restarts):
            _run(pursuit, threat, steps, maker, begin if number == 0 else None)
        return pursuit.finish()


@attack("APGD-T")
def apgd_targeted(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 100,
    restarts: int = 1,
    classes: int = 9,
) -> Attacked:
    """APGD-T: :func:`apgd` on the targeted DLR loss, towards each of the likeliest wrong classes in turn.

    Any mistake counts, not only the class that is chased, and each class is chased only for samples still right.
    Deviations from the authors' code, beside :func:`apgd`'s: classes are ranked by the judge's logits and once (theirs
    asks the model before each run, which is the same for one without noise), and where there are fewer than four, the
    margin z_t - z_y is climbed: towards the last of three classes, or of two, the DLR is constant.

    Args:
        model, images, labels, threat, how, steps: as in :func:`apgd`.
        restarts: starts for each class.
        classes: how many of the likeliest wrong classes by the clean logits; all of them where there are fewer.

    Raises:
        SpikeproofError: steps, restarts or classes < 1, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> from spikeproof.threat import Linf
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> apgd_targeted(model, images, labels, Linf(0.1), steps=5, classes=2).correct.shape
        torch.Size([2])
    """
    counts("APGD-T", steps=steps, restarts=restarts, classes=classes)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        logits = craft.judge(images)
        maker = dlr_of if logits.shape[1] >= 4 else margin_of
        for wrong in likeliest_wrong(logits, labels, classes):
            for _ in range(restarts):
                _run(pursuit, threat, steps, towards(wrong, maker, pursuit))
        return pursuit.finish()


def _run(
    pursuit: Pursuit, threat: Threat, steps: int, maker: Callable[..., Objective], start: Tensor | None = None
) -> None:
    """One start for the samples still chased, followed until its last image has been judged."""
    if len(pursuit) == 0:
        return
    craft, clean = pursuit.craft, pursuit.images
    if start is None:
        current = threat.project(clean + threat.eps * threat.random_direction(clean), clean)
    else:
        current = start[pursuit.index]
    climb = _Climb(threat, steps, current)
    for step in range(steps):
        if len(pursuit) == 0:
            return
        gradient, logits = craft.gradient(current, pursuit.objective(maker))
        kept = pursuit.offer(current, logits)
        if kept is not None:
            current, gradient, logits = current[kept], gradient[kept], logits[kept]
            climb.keep(kept)
        climb.note(current, gradient, pursuit.objective(maker)(logits), step)
        current, gradient = climb.check(current, gradient, step)
        current = climb.move(current, pursuit.images, gradient, step)
    if len(pursuit):
        pursuit.offer(current, craft.judge(current).float())


class _Climb:
    """What is remembered of each sample: its best point, its step, and whether the steps of the window helped."""

    def __init__(self, threat: Threat, steps: int, start: Float[Tensor, "n c h w"]) -> None:
        self._threat, self._checkpoints, self._last_check = threat, halving_steps(steps), 0
        self._size = torch.full_like(start[:, :1, :1, :1], 2 * threat.eps)
        self._previous = self._best = start
        self._best_gradient = torch.zeros_like(start)
        # The authors' code compares the first step's loss with 0, not with the start's (its index wraps around to a
        # row not yet written), so published results do too.
        self._loss = torch.zeros(len(start), device=start.device)
        self._best_loss = torch.full_like(self._loss, -torch.inf)
        self._best_loss_checked = self._best_loss
        self._rises = torch.zeros_like(self._loss)
        self._halved = torch.ones_like(self._loss, dtype=torch.bool)

    def note(self, current: Tensor, gradient: Tensor, loss: Float[Tensor, " n"], step: int) -> None:
        """See what the last step has brought."""
        if step > 0:
            self._rises = self._rises + (loss > self._loss)
            self._loss = loss
        better = loss > self._best_loss
        self._best_loss = torch.where(better, loss, self._best_loss)
        self._best = _where(better, current, self._best)
        self._best_gradient = _where(better, gradient, self._best_gradient)
        if step == 0:
            self._best_loss_checked = self._best_loss

    def check(self, current: Tensor, gradient: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """At a checkpoint, halve the step where it does not help, and go back to the best point and its gradient."""
        if step not in self._checkpoints:
            return current, gradient
        stands_still = ~self._halved & (self._best_loss_checked >= self._best_loss)
        self._halved = (self._rises <= 0.75 * (step - self._last_check)) | stands_still
        self._best_loss_checked, self._last_check = self._best_loss, step
        self._rises = torch.zeros_like(self._rises)
        self._size = _where(self._halved, self._size / 2, self._size)
        return _where(self._halved, self._best, current), _where(self._halved, self._best_gradient, gradient)

    def move(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The next image; the first has no momentum, and one that went back has that from where it stood before."""
        fresh, project = 0.75 if step > 0 else 1.0, self._threat.project
        ahead = project(current + self._size * self._threat.steepest(gradient), original)
        moved = project(current + (ahead - current) * fresh + (current - self._previous) * (1 - fresh), original)
        self._previous = current
        return moved

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        for name, remembered in vars(self).items():
            if isinstance(remembered, Tensor):
                setattr(self, name, remembered[kept])


def _where(chosen: Bool[Tensor, " n"], one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], one, other)


FORMS = (
    Form(name="APGD-CE", attack=apgd, kind="fixed", number=100, settings={"objective": "ce"}),
    Form(name="APGD-DLR", attack=apgd, kind="fixed", number=100, settings={"objective": "dlr"}),
    Form(name="APGD-ON", attack=apgd, kind="fixed", number=50, settings={"objective": "margin"}, continues=True),
    Form(name="APGD-T", attack=apgd_targeted, kind="fixed", number=100, passes=nine_times),
)
