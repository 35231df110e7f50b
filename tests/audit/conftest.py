"""A small network that has learned the digits, and quick audits of it."""

import copy

import pytest
import torch

from spikeproof.audit import AuditConfig
from spikeproof.data import Data, load_data
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits", validation=50)


@pytest.fixture(scope="session")
def learned(digits):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=digits.mean, std=digits.std)
    config = TrainConfig(epochs=2, batch_size=16, learning_rate=0.3, augmentation=None, device="cpu")
    return train(model, digits, config=config, show=False).model


@pytest.fixture
def model(learned):
    """The trained network, one's own to spoil."""
    return copy.deepcopy(learned)


@pytest.fixture
def quick():
    """An AuditConfig of few images and steps."""

    def make(**changes):
        settings = {"radius": 0.1, "samples": 40, "pgd_steps": 3, "sa_pgd_steps": 6}
        return AuditConfig(**(settings | changes))

    return make
