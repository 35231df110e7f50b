"""The last word on a random network: what an attack claims to have broken, asked of fresh draws that chose nothing."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from spikeproof.attacks.confirm import confirm
from spikeproof.attacks.craft import Attacked, OfRandom
from spikeproof.attacks.judge import outputs
from spikeproof.private_rng import private_rng


def last_word(
    model: nn.Module,
    attacked: Attacked,
    labels: Int64[Tensor, " n"],
    targets: Int64[Tensor, " n"] | None,
    how: OfRandom,
) -> Attacked:
    """The same images; of the claims that they are broken, or at their targets, those that fresh draws confirm.

    Many draws were looked at on the way, so an image may have been chosen for its luck with them. These draws follow
    the choice, and are made once.
    """
    undecided = torch.zeros_like(labels, dtype=torch.bool)

    def confirmed(claimed: Bool[Tensor, " n"], aims: Int64[Tensor, " n"] | None) -> Bool[Tensor, " n"]:
        at = claimed.nonzero().flatten()
        found = confirm(
            lambda images: outputs(model, images),
            attacked.images[at],
            labels[at],
            None if aims is None else aims[at],
            least=how.least_draws,
        )
        undecided[at] |= found.undecided
        return torch.zeros_like(claimed).index_copy(0, at, found.broken)

    with private_rng():
        torch.manual_seed((how.seed + 1) % 2**63)
        if attacked.reached is None:
            reached, wrong = None, confirmed(~attacked.correct, None)
        else:
            reached = confirmed(attacked.reached, targets)
            wrong = reached | confirmed(~attacked.correct & ~reached, None)  # what says the target errs
    return dataclasses.replace(attacked, correct=~wrong, reached=reached, undecided=undecided)
