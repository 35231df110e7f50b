"""MTPGD: PGD towards each of a sample's likeliest wrong classes in turn (Gowal et al. 2019, "MultiTargeted")."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, nine_times
from spikeproof.attacks.objective import Objective, margin_of
from spikeproof.attacks.projected_gradient import SteepestStep
from spikeproof.attacks.pursuit import Pursuit, chase
from spikeproof.checked import counts
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Threat


@attack("MTPGD")
def mtpgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 20,
    classes: int = 9,
    step_size: float | str | None = None,
    restarts: int = 1,
) -> Attacked:
    """For each of k wrong classes t: x <- P(x + a sign(grad (z_t - z_y))), from a uniform start in the ball.

    Any mistake at any iterate counts, not only the class that is chased, and each class is chased only for the
    samples that are still right. k * restarts * steps gradients at most. A table that says "MTPGD-20" says k too.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf, or L2 where the gradient is normalised instead of signed.
        steps: of each start.
        classes: k, the likeliest wrong classes by the clean logits; all of them where there are fewer.
        step_size: a, in pixel units, also as text; 2.5 eps / steps by default.
        restarts: starts for each class.

    Raises:
        SpikeproofError: steps, classes or restarts < 1, a step size that is not positive, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> from spikeproof.threat import Linf
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> mtpgd(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf(0.1), steps=2, classes=3).correct.shape
        torch.Size([2])
    """
    counts("MTPGD", steps=steps, classes=classes, restarts=restarts)
    size = 2.5 * threat.eps / steps if step_size is None else threat.parse(step_size, "step size")
    if size == 0 and threat.eps > 0:
        raise SpikeproofError("MTPGD's step size must be positive, got 0; leave it out for the default.")
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        for wrong in likeliest_wrong(craft.judge(images), labels, classes):
            for _ in range(restarts):
                if len(pursuit) == 0:
                    break
                start = threat.random_start(pursuit.images)
                maker = towards(wrong, margin_of, pursuit)
                last = chase(pursuit, start, SteepestStep(threat, size), steps=steps, maker=maker)
                if len(pursuit):
                    pursuit.offer(last, craft.judge(last).float())
        return pursuit.finish()


def likeliest_wrong(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], classes: int
) -> tuple[Int64[Tensor, " n"], ...]:
    """Each sample's likeliest wrong class, then its second likeliest, and so on.

    Args:
        logits: of the clean images.
        labels: the true classes.
        classes: how many wrong classes; all K - 1 where there are fewer.

    Returns:
        A tensor [n] for each rank, the likeliest first.

    Example:
        >>> likeliest_wrong(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]), 9)
        (tensor([2]), tensor([1]))
    """
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True)[:, : min(classes, logits.shape[1] - 1)].unbind(1)


def towards(
    wrong: Int64[Tensor, " n"], maker: Callable[..., Objective], pursuit: Pursuit
) -> Callable[[Tensor, Tensor | None], Objective]:
    """An objective towards these classes, for whichever samples are still chased.

    The classes are no targets of the pursuit: its samples are broken by any mistake.

    Args:
        wrong: a class for each sample of the whole batch.
        maker: makes an objective of labels and targets, such as ``margin_of``.
        pursuit: says which samples are still chased.

    Returns:
        A maker for :meth:`Pursuit.objective`.
    """
    return lambda labels, _: maker(labels, wrong[pursuit.index])


FORMS = (Form(name="MTPGD", attack=mtpgd, kind="fixed", number=20, passes=nine_times),)
