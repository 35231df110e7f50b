"""The arithmetic floor: what the convolutions and linear layers of a network cost with nothing between them.

Same shapes, same dtype and same layout as ours: no network of this size goes faster on this machine without doing other
arithmetic, so the rest of a step's time is what an implementation can still save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.models import SpikingModel

_KINDS = (nn.Conv2d, nn.Linear)


class Floor:
    """Every convolution and linear layer of ``model`` on random spikes of the shape it sees for these images.

    The weights are in ``dtype`` already, while a network under autocast rounds them in each step.
    """

    def __init__(self, model: SpikingModel, images: Tensor, dtype: torch.dtype) -> None:
        self.layers: list[Callable[[], Tensor]] = []
        self.inputs: list[Tensor] = []
        self.weights: list[Tensor] = []
        self._dtype = dtype
        handles = [module.register_forward_hook(self._add) for module in model.modules() if isinstance(module, _KINDS)]
        with torch.no_grad():
            model(images)
        for handle in handles:
            handle.remove()
        assert len(self.layers) == len(handles), "a layer's forward was not called, or more than once"
        outputs = [layer() for layer in self.layers]
        self._backward: dict[str, Any] = {
            "outputs": outputs,
            "grad_outputs": [torch.randn_like(output) for output in outputs],
            "retain_graph": True,
        }

    def inference(self) -> None:
        """Forward."""
        with torch.no_grad():
            self._forward()

    def attack(self) -> None:
        """Forward, and backward to every layer's input."""
        self._forward()
        torch.autograd.grad(inputs=self.inputs, **self._backward)

    def training(self) -> None:
        """Forward, and backward to every layer's input but the image, and to its weight."""
        self._forward()
        torch.autograd.grad(inputs=self.inputs[1:] + self.weights, **self._backward)

    def _forward(self) -> None:
        for layer in self.layers:
            layer()

    def _add(self, module: nn.Module, seen: tuple[Tensor, ...], _output: Tensor) -> None:
        assert isinstance(module, _KINDS)
        spikes = torch.bernoulli(torch.full_like(seen[0], 0.2, dtype=self._dtype)).requires_grad_()
        weight = module.weight.detach().to(self._dtype, copy=True).requires_grad_()
        bias = None if module.bias is None else module.bias.detach().to(self._dtype, copy=True)
        self.inputs.append(spikes)
        self.weights.append(weight)
        if isinstance(module, nn.Conv2d):
            stride, padding = module.stride, module.padding
            self.layers.append(lambda: torch.conv2d(spikes, weight, bias, stride=stride, padding=padding))
        else:
            self.layers.append(lambda: nn.functional.linear(spikes, weight, bias))
