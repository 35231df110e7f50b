"""Decays and gains that sites have learned beyond the bounds of a neuron's own setting. A run's metrics name them."""

from __future__ import annotations

import torch
from torch import nn

from spikeproof.spiking import sites


def beyond(model: nn.Module) -> dict[str, float]:
    """Learned decays outside [0, 1] and gains that are not positive.

    With a decay above 1 a potential grows by itself. With one below 0 it changes sign. With a gain of 0 or less there
    is no threshold. ``Neuron`` refuses such numbers, but a defense may learn them where its paper sets no bounds.

    Args:
        model: a network with sites. It is read once, so a GPU is waited for once.

    Returns:
        By name, such as ``"body.0.decay"``, the value farthest out of its bounds; empty where all lie within.

    Example:
        >>> from spikeproof.defenses import HIRE
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> HIRE().install(model)
        >>> _ = model.body[0].decay.data.fill_(1.25)
        >>> beyond(model)
        {'body.0.decay': 1.25}
    """
    learned = {
        f"{name}.{parameter}": values.detach()
        for name, site in sites(model).items()
        for parameter in ("decay", "gain")
        if (values := getattr(site, parameter)) is not None
    }
    if not learned:
        return {}
    extremes = torch.stack([torch.stack([values.min(), values.max()]) for values in learned.values()]).tolist()
    outside = {}
    for name, (least, most) in zip(learned, extremes, strict=True):
        if name.endswith(".decay"):
            out = [value for value in (least, most) if not 0 <= value <= 1]
            if out:
                outside[name] = max(out, key=lambda value: abs(value - 0.5))
        elif not least > 0:
            outside[name] = least
    return outside


def in_words(outside: dict[str, float]) -> str:
    """Say in a line of progress how many learned values lie outside, and which lies farthest out.

    Args:
        outside: what ``beyond`` returned, not empty.

    Example:
        >>> in_words({"body.0.decay": 1.25, "body.2.decay": 1.1})
        '2 learned values beyond their bounds (body.0.decay 1.25)'
    """
    name, value = max(outside.items(), key=lambda item: abs(item[1] - 0.5))
    values = "1 learned value beyond its" if len(outside) == 1 else f"{len(outside)} learned values beyond their"
    return f"{values} bounds ({name} {value:.2f})"
