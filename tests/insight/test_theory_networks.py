"""Eq. 8's terms, the Jacobian and shares near the threshold against what they are by hand."""

import dataclasses

import pytest
import torch
from torch import nn

from digit_networks import InDouble, network
from spikeproof.attacks import Crafting
from spikeproof.gradients import BPTR
from spikeproof.insight.theory import flipped_shares, jacobian_norms, local_bound, near_shares, site_spreads
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Site, inference_noise, sites


@pytest.fixture(scope="module")
def images():
    return torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(3))  # two batches, the last one smaller


@pytest.fixture(scope="module")
def labels():
    return torch.arange(60) % 10


class Linear(nn.Module):
    """Logits 4 x_0 - 3 x_1 and 0, and the jump of a step function whose gradient nobody sees."""

    def __init__(self, jump=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[4.0, -3.0], [0.0, 0.0]]))
        self.jump = jump

    def forward(self, images):
        flat = images.flatten(1)
        return flat @ self.weight.T + self.jump * (flat[:, :1] > 0.5).float()


def test_the_terms_of_the_bound_by_hand():
    images = torch.full((1, 1, 1, 2), 0.5)
    moved = images + torch.tensor([0.01, 0.02]).reshape(1, 1, 1, 2)
    label = torch.tensor([0])
    found = local_bound(Linear(), images, moved, label)
    before, after = 0.5 * 1.0, 4 * 0.51 - 3 * 0.52  # z_0 - z_1
    slope = -torch.sigmoid(torch.tensor(-before)).double()  # dL/dz_0
    change = torch.nn.functional.softplus(torch.tensor([-after, -before]).double()).diff().neg()
    assert found.change.item() == pytest.approx(change.abs().item(), abs=1e-6)
    assert found.linear.item() == pytest.approx((slope.abs() * (4 * 0.01 + 3 * 0.02)).item(), rel=1e-5)
    promised = slope * (4 * 0.01 - 3 * 0.02)
    assert found.residual.item() == pytest.approx((change - promised).abs().item(), abs=1e-6)


def test_a_smooth_loss_leaves_a_square_and_a_spiking_one_does_not(images, labels):
    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

        def forward(self, images):
            return images.flatten(1) @ self.weight.T

    def part(model, eps):
        found = local_bound(model, images, (images + eps).clamp(0, 1), labels)
        assert (found.change <= found.linear + found.residual + 1e-5).all()
        return (found.residual.sum() / found.linear.sum()).item()

    assert part(Smooth(), 0.02) < part(Smooth(), 0.08) / 3
    assert part(network("learned"), 0.005) > 0.5 * part(network("learned"), 0.02)


def test_a_random_network_draws_the_same_at_both_images(images, labels):
    model = network("tiny")
    for site in sites(model).values():
        site.noise_std = 0.5
    with inference_noise(model, True):
        found = local_bound(model, images, images, labels)
    assert found.change.abs().max() == found.linear.abs().max() == found.residual.abs().max() == 0


def test_the_jacobian_of_a_linear_network():
    assert jacobian_norms(Linear(), torch.rand(3, 1, 1, 2)).tolist() == pytest.approx([5.0] * 3)


def test_the_jacobian_by_autograd(images):
    model = InDouble(network("tiny"))
    for place, found in enumerate(jacobian_norms(model, images[:3])):
        image = images[place].double()
        jacobian = torch.autograd.functional.jacobian(lambda x: model.inner(x[None])[0], image)
        assert found.item() == pytest.approx(torch.linalg.svdvals(jacobian.flatten(1))[0].item(), rel=1e-5)


class TwoSites(nn.Module):
    """One pixel drives one neuron, and two pixels another two."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Site(Neuron(), 1), Site(Neuron(), 1)

    def forward(self, images):
        flat = images.flatten(1)
        return torch.cat([self.one(3 * flat[:, :1]), self.two(flat[:, 1:])], 1)


def pixels(*rows):
    return torch.tensor(rows).reshape(-1, 1, 1, 3)


def test_near_shares_by_hand():
    # Margins of the first image: 3 x .3 - 1 = -.1; -.6, 0. Of the second: 2; -.2, -.3.
    images = pixels([0.3, 0.4, 1.0], [1.0, 0.8, 0.7])
    assert near_shares(TwoSites(), images, 0.25).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert near_shares(TwoSites(), images, 0.6 + 1e-4).tolist() == pytest.approx([1, 2 / 3])
    # The first site's margins -.1 and 2 have a deviation of 1.485, the second's -.6, 0, -.2 and -.3 one of .25.
    assert near_shares(TwoSites(), images, 1.3, in_spreads=True).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_near_shares_in_spreads_are_blind_to_a_common_factor(images):
    model = InDouble(network("tiny"))
    fixed, spread = near_shares(model, images, 0.5), near_shares(model, images, 0.5, in_spreads=True)
    for site in sites(model).values():
        site.neuron = dataclasses.replace(site.neuron, threshold=4 * site.neuron.threshold)
        if site.norm is not None:
            site.norm.weight.data *= 4
            site.norm.bias.data *= 4
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 4
            layer.bias.data *= 4
    assert torch.equal(near_shares(model, images, 0.5, in_spreads=True), spread)
    assert near_shares(model, images, 0.5).mean() < fixed.mean() / 2


def test_flipped_shares_by_hand():
    # Spikes 1 0 1 become 1 1 0 in the first image; the second stays.
    images, moved = pixels([0.5, 0.9, 1.0], [0.1, 0.1, 0.1]), pixels([0.4, 1.0, 0.9], [0.2, 0.2, 0.2])
    assert flipped_shares(TwoSites(), images, moved).tolist() == pytest.approx([2 / 3, 0])


def test_direct_coding_gives_the_first_site_constant_currents(images):
    model = network("learned")
    first, *others = site_spreads(model, images)
    assert first.correlation == pytest.approx(1)
    assert all(-0.5 <= site.correlation < 0.999 for site in others)
    # At the first step there is nothing to reset: the potential is the current.
    assert first.measured[0] == pytest.approx(first.expected[0].item(), rel=1e-5)
    assert first.expected[1] == pytest.approx(first.expected[0].item() * 2**0.5)


def test_site_spreads_of_independent_currents():
    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.site = Site(Neuron(decay=0.5, threshold=1e4), 4)

        def forward(self, images):
            currents = torch.randn(4, 2000, 3, generator=torch.Generator().manual_seed(0))
            return self.site(currents.flatten(0, 1)).unflatten(0, (4, -1)).mean(0)[: len(images)]

    (found,) = site_spreads(Noise(), torch.rand(2, 1, 1, 1))
    assert abs(found.correlation) < 0.05
    assert torch.allclose(found.measured / found.expected, torch.ones(4, dtype=torch.float64), atol=0.05)


def test_what_theory_does_not_take(images, labels, refuses):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    with refuses("shape", "[60, 1, 8, 8]"):
        local_bound(model, images, images[:3], labels)
    with refuses("shape", "[60, 1, 8, 8]"):
        flipped_shares(model, images, images[:3])
    with refuses("width > 0", "got 0.0"):
        near_shares(model, images, 0.0)
    with refuses("no sites"):
        near_shares(nn.Flatten(), images, 0.5)
    site = next(iter(sites(model).values()))
    site.decay = nn.Parameter(torch.ones(1, 1))
    with refuses("learned decays", "body.0"):
        site_spreads(model, images)


def test_how_chooses_the_gradient(images, labels):
    model = network("tiny")
    own, other = (jacobian_norms(model, images[:4], how) for how in (None, Crafting(source=BPTR())))
    assert not torch.allclose(own, other)
