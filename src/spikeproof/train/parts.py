"""How large the parts are into which a step's batch is split.

Each part must give every batch norm two values a channel, or there is no variance.
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
    image: UInt8[Tensor, "*chw"],
    defenses: Sequence[Defense],
    config: TrainConfig,
    processes: Processes,
) -> int:
    """How many images a part of a batch has, over all processes.

    Args:
        model: with its defenses installed, on its device.
        image: one image of the data, with values 0 to 255.
        defenses: those of the run; each forward that they add needs memory.
        config: ``microbatch`` is the number of images for each process, "auto" for as many as fit into the free
            memory, or None for the whole batch.
        processes: those of the run; all must call this.

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


def check_parts(model: nn.Module, image: Shaped[Tensor, "*chw"], batch_size: int, size: int) -> None:
    """Refuse a size of parts that leaves a batch norm with one value a channel.

    Args:
        model: the network to be trained.
        image: one image of the data, with values 0 to 255.
        batch_size: images in a step.
        size: images in a part, over all processes.

    Raises:
        SpikeproofError: some part has one image, and a batch norm sees one value a channel of it.
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


def values_an_image(model: nn.Module, image: Shaped[Tensor, "*chw"]) -> dict[str, int]:
    """Count the values of a channel that one image gives to each batch norm that learns.

    Args:
        model: run once, in eval mode; nothing of it changes.
        image: with values 0 to 255.

    Returns:
        By the name of the norm's module, steps times height times width. Norms with statistics of their own for each
        step count one step.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> values_an_image(model, torch.zeros(1, 8, 8))
        {'body.0': 64, 'body.2': 64}
    """
    counts: dict[str, int] = {}

    def note(name: str, norm: nn.Module) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            merged, _channels, *space = arguments[0].shape
            own = isinstance(norm, PerStepNorm)
            counts[name] = (1 if own else merged) * math.prod(space)

        return hook

    def note_theirs(name: str, norm: _BatchNorm) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            counts[name] = arguments[0].numel() // norm.num_features  # over all steps, wherever their dimension is

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
    return counts
