"""The judge: the one function that says whether a model is right about an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.look import refuse_state
from spikeproof.checked import MOST, MOST_DRAWS, whole
from spikeproof.errors import SpikeproofError


def judge(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The logits that count: eval mode, float32 throughout, averaged over ``draws`` forwards with fresh noise.

    Attacks may craft in bfloat16, but their images count only by what this function says. A network whose parameters
    are float64 is judged in float64.

    Args:
        draws: R; 1 is exact for a deterministic model.

    Raises:
        SpikeproofError: fewer than 1 draw, a network that keeps a state, or logits that are not finite: they say
            neither right nor wrong.
    """
    whole(draws, "A verdict", "draws", 1, MOST_DRAWS)
    whole(batch_size, "A verdict", "batch_size", 1, MOST)
    refuse_state(model, images)
    return judged(model, images, draws=draws, batch_size=batch_size)


def judged(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The same of a network that is known to keep no state, such as one that was looked at before."""
    return checked(outputs(model, images, draws=draws, batch_size=batch_size))


@torch.no_grad()
def outputs(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The logits that :func:`judge` looks at."""
    images = images.to(working_dtype(model))
    with evaluating(model), torch.autocast(images.device.type, enabled=False):
        # Each forward has a copy: a network may work in place.
        chunks = [
            torch.stack([model(chunk.clone()) for _ in range(draws)]).mean(0) for chunk in images.split(batch_size)
        ]
    return torch.cat(chunks)


def checked(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """The same logits; refuse those that say neither right nor wrong.

    Raises:
        SpikeproofError: some are not finite.
    """
    odd = ~logits.isfinite().all(1)
    if odd.any():
        raise SpikeproofError(
            f"The network's logits for {int(odd.sum())} of {len(odd)} images are not finite, so there is no verdict on "
            "them; look for a division by zero, a logarithm or a root of zero, or weights that are not finite."
        )
    return logits
