"""How much of a loss's change its gradient explains: the bound of MPD-SGR's Eq. 8 and its remainder."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import Crafting, check_batch, crafting, cross_entropy_of, judged, refuse_state
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.models import check_fits
from spikeproof.private_rng import private_rng

_BATCH = 50  # images whose gradient is taken at once


@dataclasses.dataclass(frozen=True)
class LocalBound:
    """The terms of |L(x + d) - L(x)| <= |d * grad L(x)|_1 + g, for each image.

    Attributes:
        change: |L(x + d) - L(x)|.
        linear: |d * grad L(x)|_1, the sum over pixels of absolute products.
        residual: g = |L(x + d) - L(x) - d . grad L(x)|.
    """

    change: Float[Tensor, " n"]
    linear: Float[Tensor, " n"]
    residual: Float[Tensor, " n"]


@check_kinds
def local_bound(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    moved: Float[Tensor, "*like_images"],
    labels: Int64[Tensor, " n"],
    how: Crafting | None = None,
) -> LocalBound:
    """The three terms of Eq. 8 for the cross-entropy L, at d = ``moved`` - ``images``.

    By the triangle inequality the bound holds for any vector in place of the gradient. So it is informative only where
    g is small beside the first term. A spiking network's own gradient is 0 almost everywhere; the one taken here is
    that of the surrogates, and nothing makes g small.

    Args:
        model: a network of images to logits [N, K].
        images, labels: x and its classes.
        moved: x + d, in the shape of ``images``.
        how: which gradient, of how many draws, with which seed; a random network draws the same numbers at x and x + d.

    Returns:
        The terms, float32.

    Raises:
        SpikeproofError: images that do not fit, or a network that keeps a state.

    Source: MPD-SGR (2026), Eq. 8, after Qin et al. 2019, who take |d . grad L| for the first term; g is theirs.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(2, 1, 8, 8)
        >>> terms = local_bound(model, images, (images + 0.1).clamp(0, 1), torch.tensor([3, 7]))
        >>> bool((terms.change <= terms.linear + terms.residual + 1e-6).all())
        True
    """
    how = how or Crafting()
    if moved.shape != images.shape:
        raise SpikeproofError(f"The moved images must have the shape of the images, {list(images.shape)}; got others.")
    images, labels, _ = check_batch(images, labels, model=model)
    check_fits(model, shape=images.shape[1:])
    refuse_state(model, images)
    batches = zip(images.split(_BATCH), moved.to(images).split(_BATCH), labels.split(_BATCH), strict=True)
    terms = [_terms(model, *batch, how) for batch in batches]
    return LocalBound(*(torch.cat(each) for each in zip(*terms, strict=True)))


def _terms(model: nn.Module, images: Tensor, moved: Tensor, labels: Tensor, how: Crafting) -> tuple[Tensor, ...]:
    loss = cross_entropy_of(labels)
    with crafting(model, how) as craft:
        gradient, _ = craft.gradient(images, loss)
    before, after = (loss(_logits(model, at, how)) for at in (images, moved))
    products = ((moved - images) * gradient).flatten(1)
    change = after - before
    return change.abs(), products.abs().sum(1), (change - products.sum(1)).abs()


def _logits(model: nn.Module, images: Tensor, how: Crafting) -> Tensor:
    with private_rng():
        torch.manual_seed(how.seed)
        return judged(model, images, draws=how.eot_iter)
