"""The last verdict on a random network: fresh draws, which had no part in the attack, confirm what it broke."""

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
    """Keep of an attack's claims (broken, or at its target) those that fresh draws confirm.

    An attack looks at many draws, so it may have chosen an image that only those draws break. These draws are made
    once, after the choice.

    Args:
        model: the random network.
        attacked: the attack's images and claims.
        labels: the true classes.
        targets: the classes to be reached, or None.
        how: gives the seed and the least number of draws.

    Returns:
        The same images with the confirmed outcomes, and ``undecided``.

    Raises:
        SpikeproofError: logits that are not finite.
    """
    undecided = torch.zeros_like(labels, dtype=torch.bool)

    def confirmed(claimed: Bool[Tensor, " n"], aims: Int64[Tensor, " n"] | None) -> Bool[Tensor, " n"]:
        at = claimed.nonzero().flatten()
        confirmation = confirm(
            lambda images: outputs(model, images),
            attacked.images[at],
            labels[at],
            None if aims is None else aims[at],
            least=how.least_draws,
        )
        undecided[at] |= confirmation.undecided
        return torch.zeros_like(claimed).index_copy(0, at, confirmation.broken)

    with private_rng():
        torch.manual_seed((how.seed + 1) % 2**63)
        if attacked.reached is None:
            reached, wrong = None, confirmed(~attacked.correct, None)
        else:
            reached = confirmed(attacked.reached, targets)
            wrong = reached | confirmed(~attacked.correct & ~reached, None)  # who says the target errs
    return dataclasses.replace(attacked, correct=~wrong, reached=reached, undecided=undecided)
