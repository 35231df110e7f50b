"""What sites have learned beyond the bounds that a neuron's own setting has: a word beside the numbers of a run."""

from __future__ import annotations

import torch
from torch import nn

from spikeproof.spiking import sites


def beyond(model: nn.Module) -> dict[str, float]:
    """Learned decays outside [0, 1] and gains that are not positive, by their place: of each site the one farthest out.

    With a decay above 1 a potential grows by itself, with one below 0 it changes sign; with a gain of 0 or less no
    threshold exists. ``Neuron`` refuses such numbers. A defense may learn them, where its paper bounds nothing.

    Example:
        >>> from spikeproof.defenses import HIRE
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> HIRE().install(model)
        >>> _ = model.body[0].decay.data.fill_(1.25)
        >>> beyond(model)
        {'body.0.decay': 1.25}
    """
    held = {
        f"{name}.{part}": learned.detach()
        for name, site in sites(model).items()
        for part in ("decay", "gain")
        if (learned := getattr(site, part)) is not None
    }
    if not held:
        return {}
    # Read in one go, so that a GPU is waited for once.
    bounds = torch.stack([torch.stack([part.min(), part.max()]) for part in held.values()]).tolist()
    found = {}
    for name, (least, most) in zip(held, bounds, strict=True):
        if name.endswith(".decay"):
            out = [value for value in (least, most) if not 0 <= value <= 1]
            if out:
                found[name] = max(out, key=lambda value: abs(value - 0.5))
        elif not least > 0:
            found[name] = least
    return found


def in_words(found: dict[str, float]) -> str:
    """The same for a line of progress.

    Example:
        >>> in_words({"body.0.decay": 1.25, "body.2.decay": 1.1})
        '2 learned values beyond their bounds (body.0.decay 1.25)'
    """
    name, value = max(found.items(), key=lambda item: abs(item[1] - 0.5))
    values = "1 learned value beyond its" if len(found) == 1 else f"{len(found)} learned values beyond their"
    return f"{values} bounds ({name} {value:.2f})"
