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
    model: nn.Module, images: Float[Tensor, " n *chw"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The logits that count: eval mode, float32 throughout, averaged over ``draws`` forwards with fresh noise.

    Attacks may craft in bfloat16, but their images count only by what this function says. A network whose parameters
    are float64 is judged in float64.

    Args:
        model: a network that turns images [N,C,H,W] in [0, 1] into logits [N,K].
        images: a float tensor in [0, 1], on the model's device.
        draws: R, forwards whose logits are averaged; 1 is exact for a network without random numbers.
        batch_size: images in one forward.

    Returns:
        Logits in float32 (float64 of a float64 network), averaged over the draws. The verdict is their argmax.

    Raises:
        SpikeproofError: draws or batch_size below 1, a network that keeps a state, or logits that are not finite.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> judge(model, torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    whole(draws, "A verdict", "draws", 1, MOST_DRAWS)
    whole(batch_size, "A verdict", "batch_size", 1, MOST)
    refuse_state(model, images)
    return judged(model, images, draws=draws, batch_size=batch_size)


def judged(
    model: nn.Module, images: Float[Tensor, " n *chw"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """:func:`judge` without its checks of the arguments: for a network that is known to keep no state.

    Args:
        model, images, draws, batch_size: as in :func:`judge`.

    Raises:
        SpikeproofError: logits that are not finite.
    """
    return checked(outputs(model, images, draws=draws, batch_size=batch_size))


@torch.no_grad()
def outputs(
    model: nn.Module, images: Float[Tensor, " n *chw"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The logits that :func:`judge` looks at, finite or not.

    Args:
        model, images, draws, batch_size: as in :func:`judge`.
    """
    images = images.to(working_dtype(model))
    with evaluating(model), torch.autocast(images.device.type, enabled=False):
        # Each forward has a copy: a network may work in place.
        chunks = [
            torch.stack([model(chunk.clone()) for _ in range(draws)]).mean(0) for chunk in images.split(batch_size)
        ]
    return torch.cat(chunks)


def checked(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """The same logits, unless some are not finite: these say neither right nor wrong.

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
