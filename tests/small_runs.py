"""Small training runs on the embedded digits: what the tests of runs and of training begin with."""

import pytest
import torch
from safetensors.torch import load_file

from spikeproof.data import Data, load_data
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining
from spikeproof.models import create_model
from spikeproof.runs import RunFolder
from spikeproof.train import TrainConfig


@pytest.fixture(scope="session")
def few_digits() -> Data:
    """320 training images: 10 steps of 32 in an epoch."""
    return load_data("digits", validation=50, train_limit=320)


@pytest.fixture
def new_model(few_digits):
    """The tiny network, its start decided by the seed and nothing else."""

    def create(seed=0, **changes):
        settings = {"num_classes": 10, "image_size": 8, "in_channels": 1, "mean": few_digits.mean}
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return create_model("conv", **(settings | {"std": few_digits.std} | changes))

    return create


@pytest.fixture
def quick():
    """A TrainConfig of two short epochs."""

    def make(**changes):
        return TrainConfig(
            **({"epochs": 2, "batch_size": 32, "augmentation": None, "device": "cpu", "precision": "fp32"} | changes)
        )

    return make


@pytest.fixture
def all_defenses():
    """Adversarial training, MPD-SGR and TGO with its noise, together."""

    def make():
        attack = AdversarialTraining(eps=0.05, attack="pgd")
        return [attack, MPDSGR(eta=0.3, warmup=0.5), TGO(lambda_max=0.6, sigma=0.3)]

    return make


@pytest.fixture
def weights_of():
    """A run folder's weights."""
    return lambda folder: load_file(folder / "model.safetensors")


@pytest.fixture
def metrics_of():
    """A run folder's metrics, without what a clock measured."""

    def read(folder):
        lines = RunFolder(folder).metrics()
        assert all(line.pop("seconds") >= 0 for line in lines)
        return lines

    return read


@pytest.fixture
def same_weights():
    """Whether two state dicts agree in every bit."""

    def compare(first, second):
        assert first.keys() == second.keys()
        return all(torch.equal(first[name].cpu(), second[name].cpu()) for name in first)

    return compare
