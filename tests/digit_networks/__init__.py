"""Small networks that know the digits, with fixed weights: every machine tests the same ones.

A network that is trained within a test is another one on another machine: a rounding flips a spike, and from there on
all weights differ. These were trained once, by ``train.py`` beside this file, and rounded to bfloat16.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from spikeproof.models import SpikingModel, create_model

FOLDER = Path(__file__).parent
STEPS = {"learned": 3, "tiny": 2}


def new_network(name: str) -> SpikingModel:
    """The network before its training, for digits: 8 x 8 pixels in [0,1], of this mean and standard deviation."""
    shape = {"num_classes": 10, "image_size": 8, "in_channels": 1, "mean": (0.3053,), "std": (0.3758,)}
    return create_model("conv", num_steps=STEPS[name], width=0.5, **shape)


def network(name: str) -> SpikingModel:
    """The trained network, one's own to spoil, in eval mode."""
    return copy.deepcopy(_network(name))


@functools.cache
def _network(name: str) -> SpikingModel:
    model = new_network(name)
    model.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))  # bfloat16 becomes float32, exactly
    return model.eval()


class InDouble(nn.Module):
    """The same network in float64 inside: no rounding can flip a spike, so two computations of one thing agree."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.double()).float()
