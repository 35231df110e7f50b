"""Every way of adversarial training does its job: a small network ends more robust than one that is trained plainly."""

import pytest
import torch

from spikeproof.attacks import Crafting, pgd
from spikeproof.data import load_data
from spikeproof.defenses import AdversarialTraining
from spikeproof.defenses.free_adversarial_training import FreeAdversarialTraining
from spikeproof.defenses.hire import HIRE
from spikeproof.defenses.mart import MART
from spikeproof.defenses.trades import TRADES
from spikeproof.models import create_model
from spikeproof.threat import Linf
from spikeproof.train import TrainConfig, train

EPS = 0.1


@pytest.fixture(scope="module")
def trained():
    """Shares of right answers, clean and under PGD-20, after a short training with these defenses."""
    data = load_data("digits", validation=200, train_limit=640)

    def run(defenses, *, epochs=8):
        torch.manual_seed(0)
        settings = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2}
        model = create_model("conv", **settings, mean=data.mean, std=data.std)
        config = TrainConfig(
            epochs=epochs, batch_size=32, augmentation=None, device="cpu", precision="fp32", validate_every=99
        )
        train(model, data, defenses, config, show=False)
        images, labels = data.validation.images.float() / 255, data.validation.labels
        clean = (model(images).argmax(1) == labels).float().mean().item()
        attacked = pgd(model, images, labels, Linf(EPS), Crafting(seed=1), steps=20)
        return clean, attacked.correct.float().mean().item()

    return run


@pytest.fixture(scope="module")
def plain(trained):
    """As many optimiser steps as the longest run below makes."""
    return trained([], epochs=16)


@pytest.mark.parametrize(
    ("defense", "epochs"),
    [
        (AdversarialTraining(eps=EPS, attack="fgsm-rs"), 8),
        pytest.param(TRADES(eps=EPS), 8, marks=pytest.mark.thorough),
        pytest.param(MART(eps=EPS), 8, marks=pytest.mark.thorough),
        pytest.param(FreeAdversarialTraining(eps=EPS), 4, marks=pytest.mark.thorough),
        pytest.param(HIRE(eps=EPS), 8, marks=pytest.mark.thorough),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)
def test_more_robust_than_plain_training_and_still_right(trained, plain, defense, epochs):
    """Over seeds 0 to 2 the least gain was 14 points, and the least clean accuracy 76 %."""
    clean, robust = trained([defense], epochs=epochs)
    assert robust > plain[1] + 0.08
    assert clean > 0.6
