"""The network and the batch of the defenses that make images."""

import pytest
import torch

from spikeproof.models import create_model
from spikeproof.spiking import Neuron


@pytest.fixture
def model():
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)  # low, so that every site of an untrained network fires
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, neuron=neuron)
    with torch.no_grad():
        model.train()(torch.rand(32, 1, 8, 8))
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(24, 1, 8, 8, generator=generator), torch.randint(0, 10, (24,), generator=generator)
