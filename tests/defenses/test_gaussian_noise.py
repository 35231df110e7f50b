"""Gaussian noise: what a step trains on, and that a network trained so is right on noisy images."""

import pytest
import torch

from spikeproof.data import load_data
from spikeproof.defenses import GaussianNoise
from spikeproof.defenses.defense import Step
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train


def made(sigma, seed, clean):
    return GaussianNoise(sigma=sigma).perturb(
        Step(model=torch.nn.Identity(), clean=clean, labels=torch.zeros(len(clean), dtype=torch.int64), seed=seed)
    )


def test_the_noise_is_normal_of_that_deviation_not_clipped_and_another_in_each_step():
    clean = torch.full((64, 3, 16, 16), 0.02)
    noise = (made(0.25, 1, clean) - clean).double() / 0.25
    count = noise.numel()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert (noise.abs() < 1).double().mean() == pytest.approx(0.6827, abs=4 * (0.22 / count) ** 0.5)
    assert made(0.25, 1, clean).min() < 0
    assert torch.equal(made(0.25, 1, clean), made(0.25, 1, clean))
    assert not torch.equal(made(0.25, 1, clean), made(0.25, 2, clean))


@pytest.mark.parametrize("sigma", [0, -0.1, 1.5, float("nan")])
def test_a_deviation_out_of_range_is_refused_in_a_sentence(sigma):
    with pytest.raises(SpikeproofError, match="sigma"):
        GaussianNoise(sigma=sigma)


@pytest.mark.thorough
def test_a_network_trained_on_noise_is_right_more_often_on_noisy_images():
    digits = load_data("digits", validation=200, train_limit=1000)
    config = TrainConfig(epochs=12, batch_size=32, augmentation=None, device="cpu", precision="fp32", validate_every=12)
    images, labels = digits.validation.images.float() / 255, digits.validation.labels
    noisy = images + 0.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    right = []
    for defenses in ([], [GaussianNoise(sigma=0.25)]):
        torch.manual_seed(0)
        model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.5)
        train(model, digits, defenses, config, show=False)
        with torch.no_grad():
            right.append((model.eval()(noisy).argmax(1) == labels).float().mean().item())
    assert right[1] > right[0] + 0.1
