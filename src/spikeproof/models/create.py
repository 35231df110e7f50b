"""``create_model(name, ...)``: every network by its name in the papers' tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from torch import Tensor, nn

from spikeproof.checked import whole
from spikeproof.coding import Coding, Direct
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.models.description import BatchNormKind, ModelDescription
from spikeproof.models.resnet import NETWORKS as _RESNET
from spikeproof.models.sew_resnet import NETWORKS as _SEW_RESNET
from spikeproof.models.spiking_model import MOST_STEPS, SiteFactory, SpikingModel
from spikeproof.models.vgg import NETWORKS as _VGG
from spikeproof.models.wide_resnet import NETWORKS as _WIDE_RESNET
from spikeproof.names import unknown
from spikeproof.spiking import Kernels, Neuron

_MOST_WIDTH = 1000
PerChannel = float | Sequence[float] | np.ndarray | Tensor

# Every network by its name: how its stem and body are built. A new one is in its file's NETWORKS, and that here.
MODELS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = dict(
    sorted((_VGG | _RESNET | _SEW_RESNET | _WIDE_RESNET).items())
)


@check_kinds
def create_model(
    name: str,
    *,
    num_classes: int,
    num_steps: int = 4,
    width: float = 1.0,
    image_size: int = 32,
    in_channels: int = 3,
    neuron: Neuron | None = None,
    coding: Coding | None = None,
    batch_norm: BatchNormKind = "merged",
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    kernels: Kernels = "reference",
) -> SpikingModel:
    """A spiking network: images [N,C,H,W] in [0,1] -> logits [N,K].

    Args:
        name: one of ``spikeproof.models.MODELS``, such as "conv", "vgg11", "wrn16" or "resnet18".
        num_classes: K, at least 2.
        num_steps: T, from 1 to 10,000.
        width: factor on every channel and hidden feature count, at most 1000.
        image_size: H = W, in pixels.
        in_channels: C.
        neuron: the recurrence and surrogate of every site; ``Neuron()`` by default.
        coding: how images become T frames; ``Direct()`` by default.
        batch_norm: "merged": over steps and samples, as in SNN-RAT's networks. "td": the same with scales that begin at
            the threshold (tdBN, Zheng et al. 2021, alpha 1), over root 2 where two currents are added; at a threshold
            of 1 only these sums differ from "merged". "per-step": BNTT (Kim and Panda 2021).
        mean, std: normalisation constants (inside the model) for pixels in [0, 1], one for each channel or one for all
            of them; None for 0.5 and 0.25.
        kernels: "reference" or "fused" (see :class:`spikeproof.spiking.Site`).

    Returns:
        The network in training mode, its weights drawn by torch's generator.

    Raises:
        SpikeproofError: an unknown name or an impossible size.

    Sources, deviations and parameter counts are in the networks' files: vgg (Ding et al. 2022) in ``vgg.py``, and
    likewise ``wide_resnet.py``, ``resnet.py`` and ``sew_resnet.py``.

    Example:
        >>> import torch
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> model(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    if name not in MODELS:
        raise SpikeproofError(unknown("model", name, MODELS))
    for label, value, least, most in (
        ("num_classes", num_classes, 2, 1_000_000),
        ("num_steps", num_steps, 1, MOST_STEPS),
        ("image_size", image_size, 1, 65_536),
        ("in_channels", in_channels, 1, 65_536),
    ):
        whole(value, "A model", label, least, most)
    if not 0 < width <= _MOST_WIDTH:
        raise SpikeproofError(f"A model's width must be a positive factor of at most {_MOST_WIDTH}, got {width}.")
    if batch_norm not in get_args(BatchNormKind):
        raise SpikeproofError(
            f"A model's batch_norm is one of {', '.join(get_args(BatchNormKind))}, not {batch_norm!r}."
        )
    neuron = neuron or Neuron()
    coding = coding or Direct()
    means, stds = (
        _by_channel(0.5 if mean is None else mean, "mean", in_channels),
        _by_channel(0.25 if std is None else std, "std", in_channels),
    )
    if not all(value > 0 for value in stds):
        raise SpikeproofError(f"A model divides by std, so each must be a positive number, got {stds}.")
    stem, body = MODELS[name](
        new_site=SiteFactory(neuron, num_steps, kernels, batch_norm),
        in_channels=in_channels,
        image_size=image_size,
        num_classes=num_classes,
        width=width,
    )
    description = ModelDescription(
        name=name,
        num_classes=int(num_classes),
        num_steps=int(num_steps),
        width=float(width),
        image_size=int(image_size),
        in_channels=int(in_channels),
        neuron=neuron,
        coding=coding,
        batch_norm=batch_norm,
        mean=means,
        std=stds,
    )
    return SpikingModel(stem, body, description=description)


def _by_channel(given: Any, name: str, channels: int) -> tuple[float, ...]:
    """One finite number for each channel, from a number, a sequence, an array or a tensor."""
    try:
        values = np.asarray(given, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if len(values) not in (1, channels) or not np.isfinite(values).all():
        raise SpikeproofError(
            f"{name} needs one number, or one for each of the {channels} channels, got {given!r:.120}."
        )
    return tuple(np.broadcast_to(values, channels).tolist())
