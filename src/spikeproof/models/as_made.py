"""How a network differs from another one in its modules' settings and its tensors' shapes, not in their values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.contents import contents
from spikeproof.models.create import create_model
from spikeproof.models.description import ModelDescription
from spikeproof.models.spiking_model import SpikingModel

# What a module has only for a while, and what does not change the numbers.
_PASSING = {"training", "kernels", "request", "override", "across", "collapsed"}


def as_described(description: ModelDescription) -> SpikingModel:
    """A network of this description as ``create_model`` makes it, without values: on the meta device.

    Args:
        description: of a network.

    Raises:
        SpikeproofError: ``create_model`` refuses it.
    """
    with torch.device("meta"):
        return create_model(**description.arguments)


def differences(model: nn.Module, other: nn.Module) -> dict[str, Any]:
    """The settings, parameters and buffers of a network that differ from those of another one.

    Args:
        model: the network in question.
        other: the one that it is compared with.

    Returns:
        By its path, what differs: the first network's value, type and shape, or class; None where the first has none.

    Example:
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> model.body[0].norm.momentum = 0.2
        >>> differences(model, as_described(model.description))
        {'body.0.norm.momentum': 0.2}
    """
    mine, theirs = (dict(each.named_modules()) for each in (model, other))
    differing: dict[str, Any] = {}
    for path in {**mine, **theirs}:
        if path not in mine or path not in theirs or type(mine[path]) is not type(theirs[path]):
            differing[path] = type(mine[path]).__name__ if path in mine else None
            continue
        usual = _settings(theirs[path])
        # An attribute that only this object has is a user's note, no setting; one that hides the class's own is a
        # setting.
        settings = {
            name: value
            for name, value in _settings(mine[path]).items()
            if name in usual or hasattr(type(mine[path]), name) or name in _tensors(mine[path])
        }
        prefix = f"{path}." if path else ""
        differing |= {
            f"{prefix}{name}": settings.get(name)
            for name in {**usual, **settings}
            if name not in settings or name not in usual or settings[name] != usual[name]
        }
    return differing


def _settings(module: nn.Module) -> dict[str, Any]:
    """A module's settings, and the type and shape of its own parameters and buffers."""
    parts = {name for name, _ in module.named_children()}
    # A child that may be None is a plain attribute while it is None.
    attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    settings = {
        name: contents(value)
        for name, value in attributes.items()
        if name not in _PASSING | parts and value is not None
    }
    tensors = _tensors(module).items()
    return settings | {
        name: f"{str(attributes.dtype).removeprefix('torch.')} {list(attributes.shape)}" for name, attributes in tensors
    }


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
