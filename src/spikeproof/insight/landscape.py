"""The loss around images: a gradient leads somewhere only where it is smooth (Li et al. 2018; TGO's figure)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, check_batch, crafting, cross_entropy_of, evaluating, judged, look_at
from spikeproof.checked import MOST_DRAWS, check_seed, whole
from spikeproof.errors import SpikeproofError
from spikeproof.models import draws_at_random
from spikeproof.private_rng import private_rng
from spikeproof.threat import Eps, parse_eps

_BATCH = 50  # images whose gradient is taken at once
_MOST_POINTS = 1000  # along each direction


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Loss in the plane of two directions around images.

    Attributes:
        offsets: how far each point lies along a direction, from -radius to radius.
        losses: cross-entropy, mean over the images; rows go along the gradient's sign, columns along random signs.
        roughness: mean |second difference| / mean |first difference| of each image's loss along the gradient's sign.
    """

    offsets: Float[Tensor, " points"]
    losses: Float[Tensor, "points points"]
    roughness: float


def landscape(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    eps: Eps,
    points: int = 11,
    seed: int = 0,
    draws: int | None = None,
) -> Landscape:
    """The loss at clip(x + a d1 + b d2, 0, 1), a and b each at ``points`` offsets from -radius to radius.

    d1 is the sign of the loss's gradient at x (BPTT, own surrogate), 0 where that is 0; d2 are random signs, drawn for
    each pixel of each image. Roughness is a ratio of means over all images and all b::

        mean |l(a+1) - 2 l(a) + l(a-1)| / mean |l(a+1) - l(a)|

    It does not change with the scale of the loss. It is 0 on a straight slope. On a curved loss it falls as the points
    come closer. A loss that moves by jumps (spikes that flip) keeps it above 1 however fine the grid, and there a
    gradient leads nowhere. So compare networks at one radius and one number of points. A loss that nowhere changes
    along d1 has roughness 0.

    Args:
        model: a network of images in [0, 1] to logits.
        images: x, in [0, 1], one or more.
        labels: the true classes.
        eps: the radius in each direction, in pixel units; a number in (0, 1] or text like "8/255".
        points: offsets along each direction, 3 to 1000.
        seed: of d2 and of random models, whose draws are the same at every point, so that noise adds no roughness.
        draws: forwards whose logits are averaged at each point; None for 10 where the network is random at inference,
            else 1.

    Returns:
        The offsets, the mean loss at each point and the roughness.

    Source: Li et al. 2018 (NeurIPS) for two directions, there in the space of weights; TGO (2026) shows such planes
    around images without saying how they were made. The roughness is ours.

    Raises:
        SpikeproofError: images that do not fit, fewer than 3 points, fewer than 1 draw, an impossible radius, or a
            network that keeps a state.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> around = landscape(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), "8/255", points=5)
        >>> around.losses.shape, around.roughness >= 0
        (torch.Size([5, 5]), True)
    """
    reach = parse_eps(eps)
    whole(points, "A landscape", "points", 3, _MOST_POINTS)
    check_seed(seed, "A landscape")
    if draws is not None:
        whole(draws, "A landscape", "draws", 1, MOST_DRAWS)
    if reach == 0:
        raise SpikeproofError(f"A landscape needs a radius > 0, got {eps}.")
    images, labels, _ = check_batch(images, labels, model=model)
    if not len(images):
        raise SpikeproofError("A landscape needs one image at least, got none.")
    drawn = look_at(model, images).drawn  # also where the network does not declare it (dropout left on)
    if draws is None:
        with evaluating(model):
            draws = 10 if drawn or draws_at_random(model) else 1
    how = Crafting(eot_iter=draws, seed=seed)
    uphill = torch.cat(
        [_uphill(model, *pair, how) for pair in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)]
    )
    generator = torch.Generator().manual_seed(seed)  # of the CPU, so that every device sees the same directions
    aside = (2.0 * torch.randint(2, images.shape, generator=generator) - 1).to(images)
    offsets = torch.linspace(-reach, reach, points)
    losses = torch.empty(points, points, len(images))
    for row, along in enumerate(offsets.tolist()):
        for column, across in enumerate(offsets.tolist()):
            moved = (images + along * uphill + across * aside).clamp(0, 1)
            with private_rng():
                torch.manual_seed(seed)
                logits = judged(model, moved, draws=draws)
            losses[row, column] = cross_entropy(logits, labels, reduction="none").cpu()
    return Landscape(offsets, losses.mean(2), _roughness(losses))


def _uphill(model: nn.Module, images: Tensor, labels: Tensor, how: Crafting) -> Tensor:
    with crafting(model, how) as craft:
        gradient, _ = craft.gradient(images, cross_entropy_of(labels))
    return gradient.sign()


def _roughness(losses: Float[Tensor, "along across n"]) -> float:
    first = losses.diff(dim=0)
    moved = first.abs().mean().item()
    return first.diff(dim=0).abs().mean().item() / moved if moved > 0 else 0.0
