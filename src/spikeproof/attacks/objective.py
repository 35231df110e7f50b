"""What an attack climbs: a loss of each sample's logits, larger where the model is nearer to a mistake.

An objective is made for given samples, ``cross_entropy_of(labels)``, and is then a function of their logits [n,K] that
gives a number for each. At its first call it refuses labels that are no class of theirs. That waits for a GPU; later
calls do not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from spikeproof.errors import SpikeproofError

Objective = Callable[[Tensor], Tensor]


def cross_entropy_of(
    labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None, *, known: bool = False
) -> Objective:
    """CE(z, y); with targets -CE(z, target), which climbs towards the target.

    Args:
        labels: y.
        targets: the classes to be reached, or None.
        known: True leaves out the check that labels and targets are classes of the network: in a training step, or
            where they were checked before.
    """
    check = _Check() if known else _Check(labels, targets)

    def loss(logits: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        check(logits)
        if targets is None:
            return cross_entropy(logits, labels, reduction="none")
        return -cross_entropy(logits, targets, reduction="none")

    return loss


def margin_of(
    labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None, *, known: bool = False
) -> Objective:
    """max_{j != y} z_j - z_y, positive once the model errs (Carlini and Wagner 2017); with targets z_target - z_y.

    Args:
        labels, targets, known: as in :func:`cross_entropy_of`.
    """
    check = _Check() if known else _Check(labels, targets)

    def margin(logits: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        check(logits)
        if targets is not None:
            return _at(logits, targets) - _at(logits, labels)
        return _without(logits, labels).amax(1) - _at(logits, labels)

    return margin


def dlr_of(labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None) -> Objective:
    """The difference of logits ratio (Croce and Hein 2020), blind to shifts and scale of the logits::

        -(z_y - max_{j != y} z_j) / (z_(1) - z_(3) + 1e-12)
        -(z_y - z_target) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12)      with targets

    z_(i) is the i-th largest. With fewer than three classes (four with targets) the ratio would be constant while the
    label is on top; the margin takes its place, whose sign is the same.

    Args:
        labels, targets: as in :func:`cross_entropy_of`.
    """

    margin, check = margin_of(labels, targets), _Check(labels, targets)

    def ratio(logits: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        if logits.shape[1] < (3 if targets is None else 4):
            return margin(logits)
        check(logits)
        ordered, order = logits.sort(dim=1)
        third = ordered[:, -3]
        if targets is None:
            right = (order[:, -1] == labels).to(logits.dtype)
            other = ordered[:, -2] * right + ordered[:, -1] * (1 - right)
            return -(_at(logits, labels) - other) / (ordered[:, -1] - third + 1e-12)
        return -(_at(logits, labels) - _at(logits, targets)) / (ordered[:, -1] - 0.5 * (third + ordered[:, -4]) + 1e-12)

    return ratio


def divergence_of(clean: Float[Tensor, "n k"]) -> Objective:
    """KL(softmax(clean) || softmax(z)): how far the prediction has moved, whatever the label (TRADES' inner loss).

    Args:
        clean: logits of the clean images; no gradient goes through them.
    """
    before = log_softmax(clean.detach(), 1)
    return lambda logits: (before.exp() * (before - log_softmax(logits, 1))).sum(1)


OBJECTIVES = {"ce": cross_entropy_of, "margin": margin_of, "dlr": dlr_of}


def find_objective(name: str) -> Callable[..., Objective]:
    """An objective's maker by its name.

    Args:
        name: "ce", "margin" or "dlr".

    Returns:
        A function of labels, targets and ``known`` that makes the objective.

    Raises:
        SpikeproofError: there is none of that name.

    Example:
        >>> find_objective("margin")(torch.tensor([0]))(torch.tensor([[1.0, 3.0]]))
        tensor([2.])
    """
    if name not in OBJECTIVES:
        raise SpikeproofError(f"An attack climbs one of {', '.join(OBJECTIVES)}, not {name!r}.")
    return OBJECTIVES[name]


def check_classes(labels: Int64[Tensor, " n"], logits: Float[Tensor, "n k"]) -> None:
    """Refuse a label that is no class of these logits.

    Args:
        labels: whole numbers.
        logits: their second size is the number of classes K.

    Raises:
        SpikeproofError: a label outside 0 .. K - 1.
    """
    wrong = labels[(labels < 0) | (labels >= logits.shape[1])]
    if len(wrong):
        raise SpikeproofError(
            f"Label {int(wrong[0])} is no class of this model; its {logits.shape[1]} classes count from 0."
        )


class _Check:
    """Runs ``check_classes`` on some labels, at the first call only."""

    def __init__(self, *classes: Tensor | None) -> None:
        self._left = [each for each in classes if each is not None]

    def __call__(self, logits: Tensor) -> None:
        for labels in self._left:
            check_classes(labels, logits)
        self._left = []


def _at(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0]


def _without(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], -torch.inf)
