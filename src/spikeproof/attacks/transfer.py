"""Transfer: a black-box attack by images made for other networks (Papernot et al. 2016)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.projected_gradient import pgd
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTT
from spikeproof.threat import Threat

_PGD = partial(pgd, keep="last", steps=20)


@attack("A transfer attack", folds=False)
def transfer(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    substitutes: Sequence[nn.Module],
    attack: Callable[..., Attacked] = _PGD,
    targets: Int64[Tensor, " n"] | None = None,
) -> Attacked:
    """Images crafted on substitute networks, judged on ``model``, of which only verdicts are asked::

        x'_s = attack(s, x, y)  for each substitute s;    broken where f(x'_s) != y  for any s (or the target is said)

    Each substitute attacks the samples that are still right; of a sample never broken the image that troubled ``model``
    most comes back. A substitute that is ``model`` itself makes it the white-box attack. The papers' black box is one
    substitute of the same architecture, trained apart.

    Args:
        model, images, labels, threat: as in :func:`spikeproof.attacks.pgd`.
        how: for every substitute alike; its ``judge_draws`` (else its draws) are the verdict's.
        substitutes: one network or several, with the model's classes.
        attack: any attack of this package; PGD-20, last iterate, by default. Attacks that stop once the substitute errs
            (``keep="best"``, of least norm) transfer worse.
        targets: classes to be reached instead of any mistake; handed to ``attack``, which must know them.

    Raises:
        SpikeproofError: no substitutes, images outside [0, 1], or whatever the attack refuses.

    Example:
        >>> import torch
        >>> from spikeproof.models import create_model
        >>> from spikeproof.threat import Linf
        >>> model, other = (create_model("conv", num_classes=10, image_size=8, in_channels=1) for _ in range(2))
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> transfer(model, images, labels, Linf(0.1), substitutes=[other]).correct.shape
        torch.Size([2])
    """
    if len(substitutes) == 0:
        raise SpikeproofError("A transfer attack needs at least one substitute network to craft its images on.")
    # The source is the substitutes'; the model under attack is not differentiated, and may not even suit it.
    with crafting(model, dataclasses.replace(how or Crafting(), source=BPTT())) as craft:
        pursuit = Pursuit(craft, images, labels, targets)
        for substitute in substitutes:
            if len(pursuit) == 0:
                break
            aim = {} if pursuit.targets is None else {"targets": pursuit.targets}
            crafted = attack(substitute, pursuit.images, pursuit.labels, threat, how, **aim).images
            pursuit.offer(crafted, craft.judge(crafted).float())
        return pursuit.finish()
