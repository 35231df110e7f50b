"""PGD (Madry et al. 2018) and its kin: BIM (Kurakin et al. 2017), MI-FGSM (Dong et al. 2018), iterated RFGSM.

EOT-PGD (Athalye et al. 2018) is ``pgd`` with ``Crafting(eot_iter=E)``: on any attack the draws average the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import find_objective
from spikeproof.attacks.pursuit import Pursuit, Rule, chase, climb
from spikeproof.checked import counts, real, whole
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf, Threat

Keep = Literal["best", "last"]


class SteepestStep:
    """x <- P(x + a d), d the steepest direction of the norm: the sign, or the normalised gradient.

    Args:
        threat: the ball that P projects to; it also gives d.
        size: a, in pixel units.
    """

    def __init__(self, threat: Threat, size: float) -> None:
        self._threat, self._size = threat, size

    def move(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The next images, as in :class:`spikeproof.attacks.pursuit.Rule`; ``step`` is not used."""
        return self._threat.project(current + self._size * self._threat.steepest(gradient), original)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Nothing is remembered of a sample, so nothing is forgotten."""


class MomentumStep:
    """m <- mu m + g / mean|g|, x <- P(x + a d(m)); means over a sample. A zero gradient adds nothing to m.

    Args:
        threat: the ball that P projects to; it also gives d.
        size: a, in pixel units.
        decay: mu, in [0, 1].
    """

    def __init__(self, threat: Threat, size: float, decay: float) -> None:
        self._threat, self._size, self._decay = threat, size, decay
        self._momentum: Tensor | None = None

    def move(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The next images, as in :class:`spikeproof.attacks.pursuit.Rule`; ``step`` is not used."""
        mean = gradient.abs().mean((1, 2, 3), keepdim=True)
        unit = gradient / torch.where(mean > 0, mean, 1)
        self._momentum = unit if self._momentum is None else self._decay * self._momentum + unit
        return self._threat.project(current + self._size * self._threat.steepest(self._momentum), original)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Forget the momentum of all samples but those at these places."""
        if self._momentum is not None:
            self._momentum = self._momentum[kept]


@attack("PGD")
def pgd(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 20,
    step_size: float | str | None = None,
    random_start: bool = True,
    restarts: int = 1,
    keep: Keep = "best",
    objective: str = "ce",
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """x <- P(x + a sign(grad L)), from a uniform start in the ball (BIM: from the image itself).

    Args:
        model: a network that turns images [N,C,H,W] in [0, 1] into logits [N,K]. It is left as it was.
        images: x, in [0, 1]; arrays are taken too. They are copied to the model's device.
        labels: y, the true classes, from 0 to K - 1.
        threat: Linf, or L2 where the gradient is normalised instead of signed.
        how: the gradients' source, draws, precision and seed; None is ``Crafting()``: the network's own backward.
        steps: k.
        step_size: a, in pixel units, also as text ("2.55/255", the papers' for PGD-7 at 8/255); 2.5 eps / k by default.
        random_start: False gives BIM.
        restarts: how often in all; each new start chases only what the ones before left.
        keep: "best" ends with the strongest image found: success at any iterate, chasing only samples still right;
            "last" is the papers' protocol, success at the last iterate of every sample, for published numbers.
        objective: L: "ce", "margin" or "dlr".
        targets: classes to be reached instead of any mistake.

    Returns:
        Images in the ball and in [0, 1], and for each whether the model is still right about it.

    Raises:
        SpikeproofError: steps or restarts < 1, a step size that is not positive, several restarts of a last iterate
            or without a random start, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> attacked = pgd(model, images, labels, Linf(0.1), steps=5)
        >>> bool((attacked.images - images).abs().max() <= 0.1 + 1e-6)
        True

    Source: Madry et al. 2018 (ICLR), section 2.1. The paper judges the last iterate; "best" is ours.
    """
    size = _step_size(threat, steps, step_size, "PGD")
    if whole(restarts, "PGD", "restarts") > 1 and (keep == "last" or not random_start):
        raise SpikeproofError(
            f"PGD with {restarts} restarts needs a random start and keep='best'; else give restarts=1."
        )
    return iterate(
        model,
        images,
        labels,
        threat,
        how,
        rule=lambda: SteepestStep(threat, size),
        steps=steps,
        random_start=random_start,
        restarts=restarts,
        keep=keep,
        objective=objective,
        targets=targets,
    )


bim = partial(pgd, random_start=False)
bim.__doc__ = """BIM: x <- P(x + a sign(grad L)) from the image itself, :func:`pgd` with ``random_start=False``.

Args, Returns and Raises are those of :func:`pgd`; only ``restarts`` must stay 1.

Example:
    >>> import torch
    >>> from spikeproof.models import create_model
    >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    >>> bim(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), steps=5).correct.shape
    torch.Size([2])

Source: Kurakin et al. 2017 (ICLR workshop). Deviation: the default step; theirs is one of 256 grey levels.
"""
__test__ = {"bim": bim.__doc__}  # doctest finds functions and classes only


@attack("MI-FGSM")
def mi_fgsm(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 10,
    step_size: float | str | None = None,
    decay: float = 1.0,
    keep: Keep = "best",
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """Momentum over normalised gradients, m <- mu m + g / mean|g|, x <- P(x + a sign m), from the image itself.

    Args:
        model, images, labels, threat, how: as in :func:`spikeproof.attacks.pgd`.
        steps, step_size: k and a; a = eps / k by default, as in the paper.
        decay: mu.
        keep, targets: as in :func:`pgd`.

    Raises:
        SpikeproofError: steps < 1, a step size that is not positive, a decay outside [0, 1], or images outside [0, 1].
    """
    counts("MI-FGSM", steps=steps)
    size = _step_size(threat, steps, threat.eps / steps if step_size is None else step_size, "MI-FGSM")
    real(decay, "MI-FGSM", "decay", 0, 1)
    return iterate(
        model,
        images,
        labels,
        threat,
        how,
        rule=lambda: MomentumStep(threat, size, decay),
        steps=steps,
        random_start=False,
        keep=keep,
        targets=targets,
    )


@attack("RFGSM", norms=("linf",))
def iterated_rfgsm(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    steps: int = 10,
    step_size: float | str | None = None,
    keep: Keep = "best",
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """torchattacks' RFGSM: from clip(x + a sign(N(0,1))), k steps of a sign(grad), projected. Not R+FGSM (``rfgsm``).

    Args:
        model, images, labels, threat, how: as in :func:`spikeproof.attacks.pgd`.
        steps, step_size: k and a; a = eps / 4 by default (torchattacks 3.3: eps 8/255, a 2/255, k 10).
        keep, targets: as in :func:`pgd`.

    Raises:
        SpikeproofError: steps < 1, a step size that is not positive, or images outside [0, 1].
    """
    size = _step_size(threat, steps, threat.eps / 4 if step_size is None else step_size, "RFGSM")
    return iterate(
        model,
        images,
        labels,
        threat,
        how,
        rule=lambda: SteepestStep(threat, size),
        steps=steps,
        start=lambda originals: threat.project(originals + size * torch.randn_like(originals).sign(), originals),
        keep=keep,
        targets=targets,
    )


def iterate(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None,
    *,
    rule: Callable[[], Rule],
    steps: int,
    random_start: bool = True,
    start: Callable[[Tensor], Tensor] | None = None,
    restarts: int = 1,
    keep: Keep = "best",
    objective: str = "ce",
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """Any attack that moves from image to image by a rule of its own.

    Args:
        model, images, labels, threat, how, steps, random_start, restarts, keep, objective, targets: as in :func:`pgd`.
        rule: makes a new rule, once for every restart.
        start: makes the first images [n,c,h,w] from the originals. None is a random start in the ball or, with
            ``random_start=False``, the originals.

    Returns:
        The images that ``keep`` asks for and the judge's verdict on them.

    Raises:
        SpikeproofError: another word for ``keep``, or an unknown objective.
    """
    if keep not in ("best", "last"):
        raise SpikeproofError(f"keep must be 'best' or 'last', got {keep!r}.")
    maker = find_objective(objective)
    begin = start or (threat.random_start if random_start else lambda originals: originals)
    with crafting(model, how or Crafting()) as craft:
        if keep == "last":
            last = climb(craft, images, begin(images), rule(), steps=steps, objective=maker(labels, targets))
            return craft.verdict(last, labels, targets)
        # The start is drawn for every sample of the batch, so that it does not depend on which are right.
        started = begin(images)
        pursuit = Pursuit(craft, images, labels, targets)
        current = chase(pursuit, started[pursuit.index], rule(), steps=steps, maker=maker)
        for _ in range(restarts - 1):
            if len(pursuit) == 0:
                break
            pursuit.offer(current, craft.judge(current).float())
            current = chase(pursuit, begin(pursuit.images), rule(), steps=steps, maker=maker)
        return pursuit.finish(current)


def _step_size(threat: Threat, steps: int, given: float | str | None, attack: str) -> float:
    counts(attack, steps=steps)
    size = 2.5 * threat.eps / steps if given is None else threat.parse(given, "step size")
    if given is not None and size == 0 and threat.eps > 0:
        raise SpikeproofError(f"{attack}'s step size must be positive, got 0; leave it out for the default.")
    return size


# The papers' PGD-7 and BIM-7 step by 2.55/255 at 8/255; every other count of theirs is near 2.5 radius / steps.
_PAPERS_SHARE_AT_SEVEN = 2.55 / 8


@attack("PGD-7", hands_over=True)
def _seven_steps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    how: Crafting | None = None,
    *,
    search: Callable[..., Attacked],
) -> Attacked:
    """PGD-7 or BIM-7 by the papers' step, to the last iterate."""
    size = _PAPERS_SHARE_AT_SEVEN * threat.eps
    return search(model, images, labels, threat, how, steps=7, step_size=size, keep="last")


def _protocol(name: str, search: Callable[..., Attacked], number: int, rank: int, **more: Any) -> Form:
    return Form(name=name, attack=search, kind="protocol", number=number, settings={"keep": "last"}, rank=rank, **more)


FORMS = (
    _protocol("MI-FGSM", mi_fgsm, 10, rank=3),
    _protocol("RFGSM", iterated_rfgsm, 10, rank=4),
    _protocol("BIM", bim, 20, rank=5, instead={7: partial(_seven_steps, search=bim)}),
    _protocol("PGD", pgd, 20, rank=6, instead={7: partial(_seven_steps, search=pgd)}),
    Form(name="PGD-ANY", attack=pgd, kind="fixed", number=100),
)
