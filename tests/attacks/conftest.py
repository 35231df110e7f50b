"""A small network that has learned real digits, once for all attacks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof.data import load_data
from spikeproof.models import create_model


@pytest.fixture(scope="session")
def _trained_once():
    data = load_data("digits", validation=100)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.5)
        images, labels = data.train.images.float() / 255, data.train.labels
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
        for _ in range(12):
            for rows in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
            schedule.step()
    model.zero_grad()
    return model.eval(), data.test.images[:60].float() / 255, data.test.labels[:60]


@pytest.fixture
def model(_trained_once):
    return copy.deepcopy(_trained_once[0])


@pytest.fixture
def batch(_trained_once):
    """60 images the model has not seen, most of which it knows, and their labels."""
    _, images, labels = _trained_once
    return images.clone(), labels.clone()


class InDouble(nn.Module):
    """The same network in float64 inside: no rounding can flip a spike, so two computations of one thing agree."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner.double()

    def forward(self, images):
        return self.inner(images.double()).float()


@pytest.fixture
def exact_model(model):
    return InDouble(model).eval()
