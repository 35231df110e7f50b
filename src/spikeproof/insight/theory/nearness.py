"""How near each image's potentials lie to the threshold, and which spikes a change of the image flips."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks import evaluating, refuse_state
from spikeproof.checked import real
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.spiking import Record, probe

_BATCH = 50  # the margins of all sites are in memory at once


@torch.no_grad()
@check_kinds
def near_shares(
    model: nn.Module, images: Float[Tensor, " n *chw"], width: float, *, in_spreads: bool = False
) -> Float[Tensor, " n"]:
    """The share of each image's potentials with |v| < ``width``, over all sites, neurons and steps.

    Args:
        model: ours or an adapted one.
        images: [N, C, H, W] in [0, 1].
        width: of the band around the threshold, > 0.
        in_spreads: whether ``width`` counts standard deviations of v at the site on these images (the first 50),
            instead of units of the potential. A network whose potentials *and* thresholds are all multiplied has the
            same share then.

    Returns:
        [N], float32 in [0, 1].

    Raises:
        SpikeproofError: a width that is not positive, a model without sites, or one that keeps a state.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> near_shares(model, torch.rand(3, 1, 8, 8), 0.5).shape
        torch.Size([3])
    """
    real(width, "A band", "a width", 0, above=True)
    refuse_state(model, images)
    shares: list[Tensor] = []
    widths: dict[str, Tensor | float] = {}
    with evaluating(model), probe(model, "margins") as record:
        for chunk in images.split(_BATCH):
            model(chunk.clone())
            margins = _margins(record)
            for name, v in margins.items():
                widths.setdefault(name, width * v.std() if in_spreads else width)
            shares.append(_share({name: v.abs() < widths[name] for name, v in margins.items()}))
    return torch.cat(shares)


@torch.no_grad()
@check_kinds
def flipped_shares(
    model: nn.Module, images: Float[Tensor, " n *chw"], moved: Float[Tensor, "*like_images"]
) -> Float[Tensor, " n"]:
    """The share of each image's spikes, present or absent, that differ between the image and the moved one.

    Over all sites, neurons and steps, without the sites' noise.

    Args:
        model: ours or an adapted one.
        images, moved: of one shape, [N, C, H, W] in [0, 1].

    Returns:
        [N], float32 in [0, 1].

    Raises:
        SpikeproofError: images of different shapes, a model without sites, or one that keeps a state.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(3, 1, 8, 8)
        >>> flipped_shares(model, images, images)
        tensor([0., 0., 0.])
    """
    if moved.shape != images.shape:
        raise SpikeproofError(f"The moved images must have the shape of the images, {list(images.shape)}; got others.")
    refuse_state(model, images)
    shares = []
    with evaluating(model), probe(model, "margins") as record:
        for chunk, other in zip(images.split(_BATCH), moved.split(_BATCH), strict=True):
            model(chunk.clone())
            before = {name: v >= 0 for name, v in _margins(record).items()}
            model(other.clone())
            shares.append(_share({name: before[name] != (v >= 0) for name, v in _margins(record).items()}))
    return torch.cat(shares)


def _margins(record: Record) -> dict[str, Tensor]:
    """Of each site [T, N, ...]."""
    return {name: site.margins.float() for name, site in record.items() if site.margins is not None}


def _share(masks: dict[str, Tensor]) -> Tensor:
    """The share of what is true, by image, over [T, N, ...] of all sites together."""
    by_image = [mask.transpose(0, 1).flatten(1) for mask in masks.values()]
    return torch.cat(by_image, 1).float().mean(1)
