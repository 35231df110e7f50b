"""What may not learn stays as it is, a batch norm's statistics included."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def learning(model: nn.Module) -> None:
    """Training mode, but for the batch norms whose scale and shift are frozen: they keep to their running statistics.

    Example:
        >>> norm = nn.BatchNorm2d(3).requires_grad_(False)
        >>> learning(norm)
        >>> norm.training
        False
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(learns(module))


def learns(norm: nn.Module) -> bool:
    """Whether a batch norm moves: one that has no scale and shift does."""
    parameters = list(norm.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
