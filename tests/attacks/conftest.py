"""A small network that has learned real digits, and some that it has not seen."""

import pytest

from digit_networks import InDouble, network
from spikeproof.data import load_data


@pytest.fixture
def model():
    return network("learned")


@pytest.fixture(scope="session")
def _unseen():
    data = load_data("digits", validation=100)
    return data.test.images[:60].float() / 255, data.test.labels[:60]


@pytest.fixture
def batch(_unseen):
    """60 images the model has not seen, most of which it knows, and their labels."""
    images, labels = _unseen
    return images.clone(), labels.clone()


@pytest.fixture
def exact_model(model):
    return InDouble(model).eval()
