"""What an inference costs on hardware that computes only where a spike arrives: operations counted, not estimated."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from spikeproof.attacks import evaluating
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel
from spikeproof.private_rng import private_rng

_BATCH = 50
_PICOJOULES_A_MULTIPLICATION, _PICOJOULES_AN_ADDITION = 4.6, 0.9


@dataclasses.dataclass(frozen=True)
class SynapticOperations:
    """Operations of convolutions and linear layers for one image, all its steps together; means over some images.

    Attributes:
        additions: accumulations that spikes cause: an input that is not 0 times the outputs that it reaches.
        multiplications: multiply-accumulates of inputs that are real numbers.
    """

    additions: float
    multiplications: float

    @property
    def picojoules(self) -> float:
        """4.6 pJ a multiply-accumulate and 0.9 pJ an addition: 32-bit floats at 45 nm (Horowitz 2014, ISSCC)."""
        return _PICOJOULES_A_MULTIPLICATION * self.multiplications + _PICOJOULES_AN_ADDITION * self.additions


@torch.no_grad()
def synaptic_operations(model: SpikingModel, images: Float[Tensor, " n *chw"]) -> SynapticOperations:
    """Count the operations of the layers of ``model`` for these images, in eval mode.

    The fan-out of an input is exact: at borders and under strides an input reaches fewer outputs, and taps that meet
    padding are not counted. The stem multiplies all its inputs, whatever the coding: once where all steps share a
    frame, else T times. In the body an input is a spike, or an average or a sum of spikes (after pooling, between SEW
    blocks): each that is not 0 is one addition for each output that it reaches, as an event that carries a number. A
    layer of the body whose input has negative values gets a current and no spikes (behind the batch norm between the
    two linear layers of resnet17 and resnet19); each input there that is not 0 is multiplied. Batch norm, biases,
    neurons, pooling and the sums of residual blocks are not counted; they grow with neurons, not with synapses.

    Random models draw the same numbers in each call.

    Source: Rathi and Roy 2021 (DIET-SNN) count a layer's firing rate times its dense operations, and the first layer
    dense. Deviation: each input is counted with its own fan-out.

    Args:
        model: one of ours; an adapted network has no stem and body to tell apart.
        images: in [0, 1], one or more.

    Returns:
        Additions and multiplications for one image, means over these images.

    Raises:
        SpikeproofError: no images.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> operations = synaptic_operations(model, torch.rand(4, 1, 8, 8))
        >>> operations.multiplications == 22 * 22 * 16  # 22 taps of a row meet a pixel; one frame into 16 channels
        True
    """
    if not len(images):
        raise SpikeproofError("Operations are counted for one image at least, got none.")
    counted = {"additions": 0.0, "multiplications": 0.0}

    def in_stem(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        counted["multiplications"] += _reached(layer, torch.ones_like(arguments[0]))

    def in_body(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        current = bool((arguments[0] < 0).any())
        counted["multiplications" if current else "additions"] += _reached(layer, arguments[0] != 0)

    hooks = [
        layer.register_forward_pre_hook(hook)
        for half, hook in ((model.stem, in_stem), (model.body, in_body))
        for layer in half.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with private_rng(), evaluating(model):
            torch.manual_seed(0)
            for chunk in images.split(_BATCH):
                model(chunk)
    finally:
        for hook in hooks:
            hook.remove()
    return SynapticOperations(**{name: total / len(images) for name, total in counted.items()})


def _reached(layer: nn.Module, active: Tensor) -> float:
    """How many (input, output) pairs the active inputs of a layer have; whole numbers, exact in float64."""
    if isinstance(layer, nn.Linear):
        return float(active.sum(dtype=torch.float64)) * layer.out_features
    assert isinstance(layer, nn.Conv2d)
    by_position = active.sum(1, keepdim=True, dtype=torch.float64)
    taps = torch.ones(1, 1, *layer.kernel_size, dtype=torch.float64, device=active.device)
    met = conv2d(by_position, taps, None, layer.stride, layer.padding, layer.dilation)
    return float(met.sum()) * (layer.out_channels // layer.groups)
