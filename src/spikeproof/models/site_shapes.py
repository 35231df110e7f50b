"""How many neurons each site of a network has: for defenses that give every neuron a parameter of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spikeproof.models.spiking_model import SpikingModel
from spikeproof.private_rng import private_rng
from spikeproof.spiking import sites


def site_shapes(model: SpikingModel) -> dict[str, torch.Size]:
    """[*space, C] of every site by its name, before pooling.

    Args:
        model: left as it was, with its mode.

    Example:
        >>> from spikeproof.models import create_model
        >>> site_shapes(create_model("conv", num_classes=10, image_size=8, in_channels=1))["body.0"]
        torch.Size([8, 8, 16])
    """
    return shapes_seen(model, model.description.sample_shape)


@torch.no_grad()
def shapes_seen(model: nn.Module, image: Sequence[int]) -> dict[str, torch.Size]:
    """The same of any network with sites; found by a forward in eval mode of one black image
    [C,H,W], or of black frames [T,C,H,W]."""
    shapes: dict[str, torch.Size] = {}
    modes = {module: module.training for module in model.modules()}

    def note(name: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            shapes[name] = torch.Size([*arguments[0].shape[2:], arguments[0].shape[1]])

        return hook

    hooks = [site.register_forward_pre_hook(note(name)) for name, site in sites(model).items()]
    black = next(model.parameters()).new_zeros(1, *image)
    try:
        with private_rng():
            model.eval()(black)
    finally:
        for hook in hooks:
            hook.remove()
        for changed, mode in modes.items():
            changed.training = mode
    return shapes
