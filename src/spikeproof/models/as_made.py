"""In what a network is not as another one: everything that its modules are told, but not the values of weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.contents import contents
from spikeproof.models.create import create_model
from spikeproof.models.description import ModelDescription
from spikeproof.models.spiking_model import SpikingModel

# What a module holds for a while, and what gives the same numbers.
_PASSING = {"training", "kernels", "request", "override", "across", "collapsed"}


def as_described(description: ModelDescription) -> SpikingModel:
    """A network of this description as ``create_model`` makes it, without values: on the meta device.

    Raises:
        SpikeproofError: no network is described so.
    """
    with torch.device("meta"):
        return create_model(**description.arguments)


def differences(model: nn.Module, other: nn.Module) -> dict[str, Any]:
    """What modules, parameters and buffers of the first are, where they are other than the second's, by their place.

    Example:
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> model.body[0].norm.momentum = 0.2
        >>> differences(model, as_described(model.description))
        {'body.0.norm.momentum': 0.2}
    """
    mine, theirs = (dict(each.named_modules()) for each in (model, other))
    found: dict[str, Any] = {}
    for place in {**mine, **theirs}:
        if place not in mine or place not in theirs or type(mine[place]) is not type(theirs[place]):
            found[place] = type(mine[place]).__name__ if place in mine else None
            continue
        usual = _told(theirs[place])
        # What somebody noted on a module is none of its settings; what stands before the class's own is.
        told = {
            name: value
            for name, value in _told(mine[place]).items()
            if name in usual or hasattr(type(mine[place]), name) or name in _tensors(mine[place])
        }
        prefix = f"{place}." if place else ""
        found |= {
            f"{prefix}{name}": told.get(name)
            for name in {**usual, **told}
            if name not in told or name not in usual or told[name] != usual[name]
        }
    return found


def _told(module: nn.Module) -> dict[str, Any]:
    """Its settings, and of its own parameters and buffers the type and shape."""
    parts = {name for name, _ in module.named_children()}
    # A part that may be None stands among the plain attributes as long as it is.
    held = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    told = {name: contents(value) for name, value in held.items() if name not in _PASSING | parts and value is not None}
    tensors = _tensors(module).items()
    return told | {name: f"{str(held.dtype).removeprefix('torch.')} {list(held.shape)}" for name, held in tensors}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
