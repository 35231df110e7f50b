"""Into how large parts a step's batch is split, and whether each has two values of every channel.

A batch norm has no spread of one value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.attacks import evaluating, working_dtype
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.interop import Adapted
from spikeproof.models import CurrentNorm
from spikeproof.private_rng import private_rng
from spikeproof.runs import Processes, fitting_microbatch
from spikeproof.spiking import PerStepNorm, Site
from spikeproof.train.config import TrainConfig
from spikeproof.train.optimizer import learns


def part_size(
    model: nn.Module,
    image: UInt8[Tensor, "c h w"],
    defenses: Sequence[Defense],
    config: TrainConfig,
    processes: Processes,
) -> int:
    """Images in a part of a batch, over all processes: as many in each as the config says, or as fit.

    Raises:
        SpikeproofError: a last part with fewer images than processes, or too few for a batch norm.
    """
    whole, own = config.batch_size, config.microbatch
    if own is None:
        return whole
    if own == "auto":
        forwards = 1 + sum(defense.forwards - 1 for defense in defenses)
        share, bf16 = -(-whole // processes.world), config.precision == "bf16"
        fits = fitting_microbatch(model, image.float() / 255, share, bf16=bf16, forwards=forwards)
        own = min(processes.gather(fits))
    size = int(own) * processes.world
    processes.check_part(whole, size)
    check_parts(model, image, whole, size)
    return size


def check_parts(model: nn.Module, image: Shaped[Tensor, "c h w"], batch_size: int, size: int) -> None:
    """Refuse batches in parts of ``size`` images, over all processes, that leave one in which a norm sees one value.

    Raises:
        SpikeproofError: there is such a part, of one image.
    """
    least = batch_size % size or min(size, batch_size)
    if least > 1:
        return
    lonely = [name for name, values in values_an_image(model, image).items() if values < 2]
    if lonely:
        which = "a batch" if batch_size == 1 else "the last part of a batch"
        parts = "" if size >= batch_size else f" in parts of {size}"
        raise SpikeproofError(
            f"With batch_size={batch_size}{parts}, {which} has one image, which gives {lonely[0]} one value a channel, "
            "and batch norm in training needs two; give another batch_size or microbatch."
        )


def values_an_image(model: nn.Module, image: Shaped[Tensor, "c h w"]) -> dict[str, int]:
    """How many values of a channel one image gives to each batch norm that is to learn, by its place.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> values_an_image(model, torch.zeros(1, 8, 8))
        {'body.0': 64, 'body.2': 64}
    """
    found: dict[str, int] = {}

    def note(name: str, norm: nn.Module) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            merged, _channels, *space = arguments[0].shape
            own = isinstance(norm, PerStepNorm)
            found[name] = (1 if own else merged) * math.prod(space)

        return hook

    def note_theirs(name: str, norm: _BatchNorm) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found[name] = arguments[0].numel() // norm.num_features  # with steps ahead or without

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name, module.norm))
        for name, module in model.named_modules()
        if isinstance(module, Site | CurrentNorm) and module.norm is not None and learns(module.norm)
    ]
    if isinstance(model, Adapted):
        hooks += [
            module.register_forward_pre_hook(note_theirs(name, module))
            for name, module in model.net.named_modules()
            if isinstance(module, _BatchNorm) and learns(module)
        ]
    try:
        with private_rng(), torch.no_grad(), evaluating(model):
            model(image[None].to(next(model.parameters()).device).to(working_dtype(model)) / 255)
    finally:
        for hook in hooks:
            hook.remove()
    return found
