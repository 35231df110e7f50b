"""The plane of losses against losses taken directly; a rough loss against a smooth one."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof.coding import Poisson
from spikeproof.insight import landscape
from spikeproof.insight.landscape import _roughness
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, sites


class Linear(nn.Module):
    """Logits that are linear in the image, small enough that the cross-entropy is near a straight line too."""

    def __init__(self, wiggle=0.0, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.05 * torch.randn(64, 3, generator=generator).to(dtype))
        self.wiggle = wiggle

    def forward(self, images):
        logits = images.flatten(1) @ self.weight
        return logits + self.wiggle * torch.sin(2000 * logits)


class Steps(nn.Module):
    """Logits that move by jumps, with the gradient of a straight line: what a spiking network does."""

    def __init__(self):
        super().__init__()
        self.straight = Linear()

    def forward(self, images):
        logits = self.straight(images)
        return logits + ((logits * 20).round() / 20 - logits).detach()


@pytest.fixture(scope="module")
def images():
    # Far from 0 and 1, so that no pixel is clipped.
    return 0.3 + 0.4 * torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def labels():
    return torch.arange(12) % 3


def spiking(coding=None):
    torch.manual_seed(0)
    shape = {"num_classes": 3, "image_size": 8, "in_channels": 1, "width": 0.5, "num_steps": 2}
    model = create_model("conv", neuron=Neuron(threshold=0.5), coding=coding, **shape).train()
    for _ in range(10):  # running statistics of real forwards, so that layers do fire in eval mode
        model(torch.rand(32, 1, 8, 8))
    return model.eval()


def test_every_point_is_the_loss_there(labels):
    model = spiking()
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    eps, points, seed = 0.2, 5, 3
    found = landscape(model, images, labels, eps, points, seed)
    asked = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(asked), labels, reduction="sum"), asked)
    assert (gradient != 0).any(dim=0).all()
    aside = 2.0 * torch.randint(2, images.shape, generator=torch.Generator().manual_seed(seed)) - 1
    assert set(aside.unique().tolist()) == {-1.0, 1.0}
    offsets = [-0.2, -0.1, 0.0, 0.1, 0.2]
    assert found.offsets.tolist() == pytest.approx(offsets)
    losses = torch.empty(5, 5, 12)
    for row, along in enumerate(found.offsets.tolist()):
        for column, across in enumerate(found.offsets.tolist()):
            moved = (images + along * gradient.sign() + across * aside).clamp(0, 1)
            with torch.no_grad():
                losses[row, column] = cross_entropy(model(moved), labels, reduction="none")
    torch.testing.assert_close(found.losses, losses.mean(2), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert found.losses[2, 2].item() == pytest.approx(cross_entropy(model(images), labels).item(), rel=1e-5)
    first = [losses[row + 1] - losses[row] for row in range(4)]
    second = [first[row + 1] - first[row] for row in range(3)]
    expected = torch.stack(second).abs().mean() / torch.stack(first).abs().mean()
    assert found.roughness == pytest.approx(expected.item(), rel=1e-4)


def test_the_first_direction_climbs(images, labels):
    model = Linear()
    losses = landscape(model, images, labels, 0.05, points=3).losses
    assert losses[0, 1] < losses[1, 1] < losses[2, 1]
    assert losses[2, 1] - losses[0, 1] > 4 * (losses[1, 2] - losses[1, 0]).abs()


def test_a_straight_slope_is_smooth_and_a_wiggly_or_jumping_one_is_rough(images, labels):
    straight, wiggly, jumping = (
        landscape(model, images, labels, "8/255").roughness for model in (Linear(), Linear(wiggle=0.05), Steps())
    )
    assert straight < 0.02
    assert wiggly > 1
    assert jumping > 0.5


@pytest.mark.thorough
def test_a_finer_grid_smooths_a_curve_but_no_jumps(images, labels):
    def roughness(model, points):
        return landscape(model, images[:4], labels[:4], 0.1, points).roughness

    assert roughness(Linear(), 21) < 0.7 * roughness(Linear(), 11)
    assert roughness(Steps(), 41) > 1


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_roughness_has_no_scale(factor):
    losses = torch.rand(7, 5, 4, generator=torch.Generator().manual_seed(0))
    assert _roughness(losses * factor) == pytest.approx(_roughness(losses), rel=1e-5)
    assert _roughness(losses + factor) == pytest.approx(_roughness(losses), rel=1e-3)


def test_roughness_by_hand():
    # First differences 1, 1, 3; second 0, 2: (2 / 2) / (5 / 3).
    assert _roughness(torch.tensor([0.0, 1.0, 2.0, 5.0])[:, None, None]) == pytest.approx(0.6)
    assert _roughness(torch.arange(5.0)[:, None, None].expand(5, 3, 2)) == 0
    assert _roughness(torch.ones(5, 3, 2)) == 0
    # It goes along the gradient's sign, which the rows do.
    assert _roughness(torch.rand(1, 5, 2).expand(5, 5, 2)) == 0


@pytest.mark.thorough
def test_noise_is_no_roughness_and_its_draws_are_averaged(labels):
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    noisy = spiking()
    for site in sites(noisy).values():
        site.noise_std, site.noise_at_inference = 0.3, True
    one, again, another = (landscape(noisy, images, labels, 0.1, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(one.losses, again.losses)
    assert not torch.equal(one.losses, another.losses)
    # A move of nothing: with fresh noise at each point the loss would differ, and all of it would be roughness.
    still = landscape(noisy, images, labels, 1e-9, 3)
    assert still.losses.max() - still.losses.min() < 1e-5
    assert torch.equal(one.losses, landscape(noisy, images, labels, 0.1, 3, draws=10).losses)
    assert not torch.equal(one.losses, landscape(noisy, images, labels, 0.1, 3, draws=1).losses)


def test_more_images_than_a_batch(labels):
    many = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    which = torch.arange(60) % 3
    whole = landscape(Linear(), many, which, 0.1, 3)
    assert math.isfinite(whole.roughness)
    assert whole.losses[1, 1].item() == pytest.approx(cross_entropy(Linear()(many), which).item(), rel=1e-5)


def test_the_model_is_left_as_it_was(images, labels):
    model = spiking(Poisson()).train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    state, before = torch.get_rng_state(), images.clone()
    landscape(model, images, labels, 0.1, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, before)


def test_refusals(refuses, images, labels):
    for points in (2, 0):
        with refuses("points >= 3", points):
            landscape(Linear(), images, labels, 0.1, points)
    with refuses("radius > 0", 0.0):
        landscape(Linear(), images, labels, 0.0)
    with refuses("eps", "'wide'"):
        landscape(Linear(), images, labels, "wide")
    with refuses("draws >= 1", 0):
        landscape(Linear(), images, labels, 0.1, draws=0)
    with refuses("[0, 1]"):
        landscape(Linear(), images + 1, labels, 0.1)
    with refuses("one image", "none"):
        landscape(Linear(), images[:0], labels[:0], 0.1)
    with refuses("Label 3"):
        landscape(Linear(), images, labels + 1, 0.1)


def test_randomness_that_nobody_declared_is_averaged(images, labels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network.register_forward_pre_hook(lambda _, given: (torch.nn.functional.dropout(given[0], 0.3, training=True),))
    images, labels = images[:4], labels[:4]
    found, ten, one = (landscape(network, images, labels, 0.1, points=3, draws=draws) for draws in (None, 10, 1))
    assert torch.equal(found.losses, ten.losses) and not torch.equal(found.losses, one.losses)
