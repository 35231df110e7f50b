"""Microbatches: how many images at a time fit into the free memory, where the whole batch does not."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.machine.free_memory import free_bytes
from spikeproof.models import is_compiled
from spikeproof.private_rng import private_rng
from spikeproof.runs.processes import whole_number

# The peak memory of a step, as a multiple of what it saves for its backward: gradients of a layer and the convolution's
# own buffers come on top. 0.9 to 1.7 were measured (docs/performance.md); 2 leaves a reserve.
_PEAK_OVER_SAVED = 2.0
_SHARE_OF_FREE = 0.8


def fitting_microbatch(
    model: nn.Module,
    image: Float[Tensor, "*chw"],
    batch_size: int,
    *,
    bf16: bool,
    training: bool = True,
    forwards: int = 1,
) -> int:
    """How many images at a time fit into the free memory of the image's device, with parts as equal as can be.

    What a step saves for its backward is counted on two images and on four, and taken to grow in the same way with
    every further image.

    Args:
        model: on the image's device.
        image: one image, in [0, 1].
        batch_size: the batch that is to be split.
        bf16: whether the step runs in bfloat16.
        training: True for a training step, False for an attack's: eval mode, and the gradient is the image's.
        forwards: how many forwards the step has in memory at once.

    Returns:
        From 1 to ``batch_size``. It is 1 also where not even one image fits: then the step itself will fail.

    Raises:
        SpikeproofError: the machine does not say how much memory is free.
    """
    two, four = (
        saved_bytes(model, image.expand(count, *image.shape), bf16=bf16, training=training) for count in (2, 4)
    )
    a_sample = max((four - two) / 2 * _PEAK_OVER_SAVED * forwards, 1)
    # The processes that torchrun started on this machine share a CPU's memory; each has a GPU of its own.
    sharing = 1 if image.device.type == "cuda" else max(1, whole_number("LOCAL_WORLD_SIZE", 1))
    most = max(1, int(free_bytes(image.device) / sharing * _SHARE_OF_FREE / a_sample))
    parts = -(-batch_size // most)
    return -(-batch_size // parts)


def saved_bytes(model: nn.Module, images: Float[Tensor, " n *chw"], *, bf16: bool, training: bool = True) -> int:
    """Count the bytes that a forward of these images keeps for its backward, without parameters and buffers.

    The model stays as it was: running statistics, mode, and random numbers.

    Args:
        model: on the images' device.
        images: in [0, 1].
        bf16: whether the forward runs in bfloat16.
        training: True for training mode, False for eval mode with gradients by the images.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    storages: dict[int, int] = {}
    kept: list[Any] = []  # keeps the tensors alive, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    before, modes = [buffer.clone() for buffer in model.buffers()], [module.training for module in model.modules()]
    try:
        with (
            private_rng(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast(images.device.type, torch.bfloat16, enabled=bf16),
        ):
            # A copy, since a network may work in place, which fails on images that share memory and on leaves.
            wanted = images.clone() if training else images.clone().requires_grad_()
            model.train(training)(wanted if is_compiled(model) else wanted.clone())
    finally:
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode
    return sum(storages.values())
