"""A network as every attack and verdict sees it: in eval mode, frozen, in float32 (float64 if its weights are)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from spikeproof.private_rng import ONE_AT_A_TIME


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """For a while, put every module in eval mode and let no parameter ask for a gradient.

    Each flag is restored afterwards, exception or not. Another thread that wants the same waits: else it would take
    the flags set here for the model's own.
    """
    with ONE_AT_A_TIME:
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


def working_dtype(model: nn.Module) -> torch.dtype:
    """float64 for a network of such parameters, else float32: what it is given images in, and judged in."""
    parameter = next(model.parameters(), None)
    return torch.float64 if parameter is not None and parameter.dtype == torch.float64 else torch.float32
