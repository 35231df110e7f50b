"""The judge: the one function that says whether a model is right about an image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode and no parameter asking for a gradient; each flag restored, exception or not."""
    training = {module: module.training for module in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)


@torch.no_grad()
def judge(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, draws: int = 1, batch_size: int = 250
) -> Float[Tensor, "n k"]:
    """The logits that count: eval mode, float32 throughout, averaged over ``draws`` forwards with fresh noise.

    Attacks may craft in bfloat16, but their images count only by what this function says.

    Args:
        draws: R; 1 is exact for a deterministic model.
    """
    with evaluating(model), torch.autocast(images.device.type, enabled=False):
        chunks = [
            torch.stack([model(chunk) for _ in range(draws)]).mean(0) for chunk in images.float().split(batch_size)
        ]
    return torch.cat(chunks)
