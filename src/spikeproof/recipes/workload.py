"""How many threads a recipe's network is worth."""

from __future__ import annotations

import contextlib
import math

import torch

from spikeproof.machine.threads import fitting_threads
from spikeproof.models import SpikingModel, multiply_accumulates


def threads_for(
    model: SpikingModel, images: int, device: torch.device, begun_with: int | None = None
) -> contextlib.AbstractContextManager[None]:
    """In this block, the threads that fit so many images of a step; on a GPU, which does the work itself, all.

    Args:
        begun_with: the threads of a run that goes on.
    """
    network = model.description
    macs = multiply_accumulates(
        network.name,
        num_classes=network.num_classes,
        num_steps=network.num_steps,
        width=network.width,
        image_size=network.image_size,
        in_channels=network.in_channels,
    )
    return fitting_threads(math.inf if device.type == "cuda" else images * macs, begun_with)
