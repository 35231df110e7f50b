"""A look at a network before hours are spent on it: does it keep a state, and does it draw random numbers?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks import evaluating, working_dtype
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng

_FEW = 8
_ROUNDING = 1e-4  # of the largest logit


@torch.no_grad()
def draws_where_nobody_said_so(model: nn.Module, images: Float[Tensor, "n c h w"]) -> bool:
    """Whether the logits of the same images change with the seed of the random numbers, and with nothing else.

    Raises:
        SpikeproofError: they change though the seed is the same, so an attack would change what it attacks; or they
            are no logits [N,K].
    """
    few = images[:_FEW].to(working_dtype(model))
    if len(few) == 0:
        return False
    with private_rng(), evaluating(model):
        # The first forward may compile, or fill in what is lazy.
        _, once, again, other = (_seeded(model, few, seed) for seed in (0, 0, 0, 1))
    scale = once.abs().amax().clamp_min(1e-12)
    differs = (once - again).abs().amax(1) > _ROUNDING * scale
    if 2 * int(differs.sum()) > len(few):  # one flipped spike is rounding
        raise SpikeproofError(
            f"Two forwards of the same images differ by {(once - again).abs().max().item():.2g} in their logits, with "
            "the same random numbers: this network keeps its state. Reset its potentials and buffers at the beginning "
            "of each forward; an attack would change the network that it attacks."
        )
    return bool(((once - other).abs().amax(1) > _ROUNDING * scale).any())


def _seeded(model: nn.Module, images: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    logits = model(images.clone())
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        given = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise SpikeproofError(
            f"The network must turn {len(images)} images into logits [{len(images)}, K], one row for each image, and "
            f"gives {given}; wrap it so that it does (average over time steps, take the first of a tuple)."
        )
    return logits.float()
