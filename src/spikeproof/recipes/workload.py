"""How many threads a network is worth, and whether compiled kernels."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import torch

from spikeproof.machine.threads import fitting_threads
from spikeproof.models import SpikingModel, load_model, multiply_accumulates
from spikeproof.spiking import Kernels

_WORTH_COMPILING = 2e6  # multiply-accumulates of an image: more than a small network on digits, less than any on CIFAR


def threads_for(
    model: SpikingModel, images: int, device: torch.device, begun_with: int | None = None
) -> contextlib.AbstractContextManager[None]:
    """In this block, the threads that fit so many images of a step; on a GPU, which does the work itself, all.

    Args:
        begun_with: the threads of a run that goes on.
    """
    work = math.inf if device.type == "cuda" else images * _multiply_accumulates(model)
    return fitting_threads(work, begun_with)


def kernels_for(path: Path) -> Kernels:
    """Compiled kernels, unless the network is so small that compiling takes longer than its audit.

    Args:
        path: of its weights.

    Raises:
        SpikeproofError: whatever :func:`spikeproof.models.load_model` refuses.
    """
    return "fused" if _multiply_accumulates(load_model(path)) > _WORTH_COMPILING else "reference"


def _multiply_accumulates(model: SpikingModel) -> float:
    """Of one image."""
    network = model.description
    return multiply_accumulates(
        network.name,
        num_classes=network.num_classes,
        num_steps=network.num_steps,
        width=network.width,
        image_size=network.image_size,
        in_channels=network.in_channels,
    )
