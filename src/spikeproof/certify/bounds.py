"""A network's logits over a whole ball of images: which classes can win there (IBP; through spikes, S-IBP)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.certify.interval import Interval, Rounding
from spikeproof.certify.layers import through
from spikeproof.coding import Direct
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel, unwrapped
from spikeproof.threat import Linf

# An attack's image is projected in float32, so it may lie outside the ball by a few units of rounding.
_BALL = 2.0**-22


class _Features(NamedTuple):
    """What enters the last layer: bounds of its mean over the steps, and how large it is at most in the mean."""

    mean: Interval
    size: Float[Tensor, "n f"]


@torch.no_grad()
def never_another(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    classes: Int64[Tensor, " n"],
    threat: Linf,
) -> Bool[Tensor, " n"]:
    """Of which images every image in the ball has this class as its largest logit, proved by interval bounds::

        min over the ball of (z_y - z_c) >= sum_f min((W_y - W_c)_f m_f) + b_y - b_c - rounding > 0   for all c != y

    m_f are the bounds of the mean spikes of feature f. Everything before is bounded layer by layer
    (``certify/layers.py``), spikes by :func:`~spikeproof.certify.recurrence.spikes_within`; the last linear layer is
    taken together for y and c, which is exact for it. True is a proof for the network as float32 computes it (see
    ``certify/interval.py``). False says nothing: bounds grow from layer to layer and from step to step.

    Args:
        model: one of ``create_model``, in eval mode.
        images: in [0, 1].
        classes: y, mostly what the network says.
        threat: the ball.

    Raises:
        SpikeproofError: a network of another kind, one that draws random numbers, another coding than direct, or a
            layer without a rule.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25).eval()
        >>> images = torch.rand(2, 1, 8, 8)
        >>> never_another(model, images, model(images).argmax(1), Linf(0.5))
        tensor([False, False])
    """
    network, last = _checked(model)
    rounding = Rounding.of(images.dtype, images.device)
    reach = threat.eps + _BALL
    ball = Interval((images.double() - reach).clamp(0, 1), (images.double() + reach).clamp(0, 1))
    features = _features(network, ball, rounding)
    weight, bias = last.weight.double(), 0.0 if last.bias is None else last.bias.double()
    # Over the last layer and the mean: T sums of F products, a bias, T - 1 sums and a division.
    terms = last.in_features + network.num_steps + 2
    error = rounding.margin(features.size @ weight.abs().T + abs(bias), terms)
    error = error + rounding.products * (features.size @ weight.abs().T)
    lowest = torch.full_like(error, torch.inf)
    for other in range(len(weight)):
        apart = weight[classes] - weight[other]
        least = (apart.clamp_min(0) * features.mean.low + apart.clamp_max(0) * features.mean.high).sum(1)
        offset = 0.0 if isinstance(bias, float) else bias[classes] - bias[other]
        lowest[:, other] = least + offset - error[:, other] - error.gather(1, classes[:, None])[:, 0]
    lowest.scatter_(1, classes[:, None], torch.inf)
    return (lowest > 0).all(1)


def _checked(model: nn.Module) -> tuple[SpikingModel, nn.Linear]:
    network = unwrapped(model)
    if not isinstance(network, SpikingModel):
        raise SpikeproofError(
            f"Interval bounds need to know every layer, so they are of networks that create_model makes, and not of "
            f"{type(network).__name__}; the method smoothing certifies any network."
        )
    if not isinstance(network.coding, Direct):
        raise SpikeproofError(
            f"Interval bounds are of networks with direct coding, and this one has {type(network.coding).__name__}; "
            "certify it with the method rate if it codes by Bernoulli spikes, else with smoothing."
        )
    last = network.body[-1] if isinstance(network.body, nn.Sequential) else None
    if not isinstance(last, nn.Linear):
        raise SpikeproofError("Interval bounds need a network whose last layer is linear; certify it with smoothing.")
    return network, last


def _features(network: SpikingModel, ball: Interval, rounding: Rounding) -> _Features:
    mean, std = network.mean.double(), network.std.double()
    frames = ball.each(lambda bound: (bound - mean) / std)
    given = frames.widened(rounding.margin((ball.largest + mean.abs()) / std, 3))
    given = through(network.stem, given, rounding)
    assert isinstance(network.body, nn.Sequential)
    given = through(network.body[:-1], given, rounding)
    by_step = given.each(lambda bound: bound.unflatten(0, (network.num_steps, -1)))
    return _Features(by_step.each(lambda bound: bound.mean(0)), by_step.largest.mean(0))
