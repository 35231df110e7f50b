"""DSD: the leading component against numpy's SVD, which gradients are deflated, and what stays."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof.data import load_data
from spikeproof.defenses import AdversarialTraining, compose
from spikeproof.defenses.dominant_singular_deflation import DSD, leading_component
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, sites
from spikeproof.train import TrainConfig, train


def literal(matrix):
    """s_1 u_1 v_1^T and the singular values, by numpy in double precision."""
    u, s, v = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    return s[0] * np.outer(u[:, 0], v[0]), s


def error(found, matrix):
    """Of the component, as a share of its size."""
    expected, s = literal(matrix)
    return np.linalg.norm(found.double().numpy() - expected) / s[0]


def with_singular_values(values, rows, columns, seed=0):
    draw = np.random.default_rng(seed)
    u = np.linalg.qr(draw.standard_normal((rows, rows)))[0][:, : len(values)]
    v = np.linalg.qr(draw.standard_normal((columns, columns)))[0][:, : len(values)]
    return torch.tensor(u @ np.diag(values) @ v.T).float()


SHAPES = [(1, 1), (1, 7), (7, 1), (2, 3), (12, 12), (13, 13), (16, 27), (27, 16), (10, 300), (300, 10), (130, 250)]


@pytest.mark.sweep
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e6])
def test_component_is_that_of_a_whole_svd(shape, scale):
    matrix = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert error(leading_component(matrix), matrix) < 2e-5
    exact = matrix.double()
    assert error(leading_component(exact), exact) < 2e-5


@pytest.mark.parametrize(
    "values",
    [
        (1.0,),
        (1.0, 1e-4),
        (1.0, 0.99),
        (1.0, 0.95, 0.94, 0.93),
        tuple(np.linspace(1, 0.5, 150)),
        (1.0, 0.98) + (0.97,) * 148,
    ],
    ids=lambda values: f"{len(values)} from {values[:2]}",
)
def test_low_rank_and_close_singular_values(values):
    matrix = with_singular_values(values, 160, 200)
    assert error(leading_component(matrix), matrix) < 1e-4


def test_of_two_equal_singular_values_one_is_taken_off():
    matrix = with_singular_values((2.0, 2.0, 1.0), 6, 9)
    left = matrix - leading_component(matrix)
    assert np.linalg.svd(left.numpy())[1][:3] == pytest.approx([2, 1, 0], abs=1e-4)


def test_rows_that_add_up_to_zero():
    """A readout's gradient is such a matrix, as the softmax's is."""
    matrix = torch.randn(10, 40, generator=torch.Generator().manual_seed(0))
    matrix -= matrix.mean(0)
    assert error(leading_component(matrix), matrix) < 2e-5


def test_a_leading_part_far_from_the_largest_row():
    matrix = torch.zeros(400, 30)
    matrix[0, 0] = 5.0  # one large row, and many small ones that agree: 0.3 * sqrt(399 * 29) is 32
    matrix[1:, 1:] = 0.3
    assert error(leading_component(matrix), matrix) < 2e-5


# On gradients of a network.


@pytest.fixture
def learned():
    """A network with gradients of a batch, and a decay [T, H, W, C] that another defense put at a site."""
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)  # low, so that every site of an untrained network fires
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, neuron=neuron)
    site = sites(model)["body.0"]
    site.decay = nn.Parameter(torch.ones(2, 8, 8, 16))
    cross_entropy(model.train()(torch.rand(16, 1, 8, 8)), torch.arange(16) % 10).backward()
    assert site.decay.grad.abs().max() > 0
    return model


def gradients(model):
    return {name: part.grad.clone() for name, part in model.named_parameters()}


def test_weights_are_deflated_and_nothing_else(learned):
    before = gradients(learned)
    random = torch.get_rng_state()
    DSD().after_backward(learned, 0.3)
    assert torch.equal(torch.get_rng_state(), random)
    after = gradients(learned)
    weights = {"stem.weight", "body.1.weight", "body.4.weight", "body.6.weight"}
    for name, old in before.items():
        if name not in weights:
            assert torch.equal(after[name], old), name
            continue
        component, s = literal(old.flatten(1))
        expected = old.flatten(1).double().numpy() - component
        found = after[name].flatten(1).numpy()
        assert np.linalg.norm(found - expected) < 1e-4 * s[0], name
        assert np.linalg.norm(found, 2) == pytest.approx(s[1], rel=1e-3)
        assert after[name].stride() == old.stride()


def test_the_weights_themselves_do_not_move(learned):
    before = {name: tensor.clone() for name, tensor in learned.state_dict().items()}
    DSD().after_backward(learned, 0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learned.state_dict().items())


def test_tiny_missing_and_overflowed_gradients_stay():
    model = nn.Sequential(*(nn.Linear(3, 4) for _ in range(5)))
    for layer, value in zip(model, (0.0, 2e-9, 1e-3, torch.inf), strict=False):
        layer.weight.grad = torch.full((4, 3), value)
    DSD().after_backward(model, 0.0)
    assert (model[0].weight.grad == 0).all()
    assert (model[1].weight.grad == 2e-9).all()  # a norm of 7e-9
    assert model[2].weight.grad.abs().max() < 1e-8  # of rank one: nothing is left
    assert (model[3].weight.grad == torch.inf).all()
    assert model[4].weight.grad is None
    DSD().after_backward(nn.Sequential(nn.Linear(2, 2)), 0.0)


@pytest.mark.thorough
def test_a_network_learns_what_is_left_of_the_gradients():
    data = load_data("digits", validation=200)
    compose([AdversarialTraining(), DSD()])
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=data.mean, std=data.std)
    config = TrainConfig(epochs=5, batch_size=64, augmentation=None, validate_every=5, device="cpu", precision="fp32")
    run = train(model, data, [DSD()], config, show=False)
    assert run.metrics[-1]["validation_accuracy"] > 0.6  # 0.79 was seen, and 0.82 without it
