"""The network inside what PyTorch wraps around one."""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def is_compiled(model: nn.Module) -> bool:
    """Whether ``torch.compile`` made this module."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # not imported: nothing was compiled; importing takes seconds
    return dynamo is not None and isinstance(model, dynamo.OptimizedModule)


def is_scripted(model: nn.Module) -> bool:
    """Whether any part of this module is TorchScript, scripted or traced.

    Example:
        >>> is_scripted(nn.Linear(2, 2))
        False
    """
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, DataParallel or DistributedDataParallel; another one as it is.

    Args:
        model: any network, wrapped once or several times.

    Example:
        >>> inner = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(inner)) is unwrapped(inner) is inner
        True
    """
    while True:
        if is_compiled(model):
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | DistributedDataParallel):
            model = model.module
        else:
            return model
