"""The loss of one step: the training forward, its loss, and the penalties of the defenses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from spikeproof.checked import told
from spikeproof.defenses import Defense, Needs, Step, watch
from spikeproof.errors import SpikeproofError
from spikeproof.train.temporal_loss import temporal_loss


def step_loss(
    step: Step, defenses: Sequence[Defense], needs: Needs, kind: Literal["mean", "tet"]
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Run the training forward on ``step.images`` and take its loss.

    Args:
        step: of one part of a batch; its ``logits`` and ``record`` are filled in.
        defenses: those of the run. One of them may replace the loss; each may add a penalty.
        needs: what all defenses together want to see of the forward, as ``compose`` gives it.
        kind: as in ``TrainConfig.loss``.

    Returns:
        The loss with all penalties, and each penalty by the name of its defense.

    Raises:
        SpikeproofError: a defense's loss or penalty is not one number.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> images, model = torch.zeros(2, 1, 2, 2), nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> step = Step(model=model, clean=images, images=images, labels=torch.tensor([0, 1]))
        >>> loss, penalties = step_loss(step, [], Needs(), "mean")
        >>> round(loss.item(), 4), penalties
        (0.6931, {})
    """
    replacing = [defense for defense in defenses if defense.replaces_loss]
    steps = None
    with contextlib.ExitStack() as stack:
        if needs != Needs():
            step.record = stack.enter_context(watch(step.model, needs))
        if kind == "tet" and not replacing:
            steps = step.forward_steps(step.images)
            step.logits = steps.mean(0)
        else:
            step.logits = step.forward(step.images)
    if replacing:
        loss = _one_number(replacing[0].loss(step), replacing[0], "loss")
    else:
        loss = cross_entropy(step.logits, step.labels) if steps is None else temporal_loss(steps, step.labels)
    penalties = {}
    for defense in defenses:
        penalty = defense.penalty(step)
        if penalty is not None:
            penalties[type(defense).__name__] = penalty = _one_number(penalty, defense, "penalty")
            loss = loss + penalty
    return loss, penalties


def _one_number(value: Any, defense: Defense, hook: str) -> Float[Tensor, ""]:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    gave = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else told(value)
    raise SpikeproofError(
        f"{type(defense).__name__}.{hook} must give one number, a tensor without dimensions, and gave {gave}; take the "
        "mean over the images."
    )
