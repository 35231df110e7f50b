"""REG: singular values, the random rows of wide layers, the simplex, and what must stay as it is."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.data import load_data
from spikeproof.defenses import AdversarialTraining, compose
from spikeproof.defenses.retraction import REG, on_simplex, retracted
from spikeproof.models import create_model
from spikeproof.models.wide_resnet import PreActivationBlock
from spikeproof.train import TrainConfig, train


def with_singular_values(values, rows, columns, seed=0):
    """A random matrix [rows, columns] that has exactly these."""
    draw = np.random.default_rng(seed)
    u = np.linalg.qr(draw.standard_normal((rows, rows)))[0][:, : len(values)]
    v = np.linalg.qr(draw.standard_normal((columns, columns)))[0][:, : len(values)]
    return torch.tensor(u @ np.diag(values) @ v.T)


@pytest.mark.parametrize(("rows", "columns"), [(2, 7), (7, 2), (5, 5)])
@pytest.mark.parametrize(
    ("beta", "before", "after"),
    [(0.001, (1.9, 0.5), (1.895041, 0.500375)), (0.004, (1.9, 0.5), (1.880164, 0.5015))],
)
def test_singular_values_of_the_references(beta, before, after, rows, columns):
    weight = with_singular_values(before, rows, columns)
    found = np.linalg.svd(retracted(weight, beta).numpy())
    assert found[1][:2] == pytest.approx(after, abs=1e-12)
    lead = np.linalg.svd(weight.numpy())
    assert abs(found[0][:, 0] @ lead[0][:, 0]) == pytest.approx(1)  # and the directions stay
    assert abs(found[2][0] @ lead[2][0]) == pytest.approx(1)


def test_it_descends_the_distance_from_orthonormal_rows():
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    distance = (weight @ weight.T - torch.eye(3)).square().sum() / 4
    (slope,) = torch.autograd.grad(distance, weight)
    torch.testing.assert_close(retracted(weight.detach(), 0.01), weight.detach() - 0.01 * slope)


def test_orthonormal_rows_stay_and_others_come_near_them():
    orthonormal = with_singular_values((1.0,) * 4, 4, 9)
    torch.testing.assert_close(retracted(orthonormal, 0.3), orthonormal, rtol=0, atol=1e-14)
    weight = with_singular_values((0.3, 0.7, 1.3, 1.8), 4, 9)
    for _ in range(200):
        weight = retracted(weight, 0.05)
    torch.testing.assert_close(weight @ weight.T, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-8)


# The simplex.


def slow_projection(point):
    """The nearest point of the simplex of two or three coordinates, by looking at very many."""
    grid = np.linspace(0, 1, 401)
    if len(point) == 2:
        points = np.stack([grid, 1 - grid], 1)
    else:
        first, second = np.meshgrid(grid, grid)
        inside = first + second <= 1 + 1e-12
        points = np.stack([first[inside], second[inside], 1 - first[inside] - second[inside]], 1)
    return points[((points - point) ** 2).sum(1).argmin()]


@pytest.mark.parametrize("size", [2, 3])
def test_projection_is_the_nearest_point(size):
    draw = np.random.default_rng(size)
    for scale in (0.3, 1, 3):
        for _ in range(10):
            point = scale * draw.standard_normal(size)
            found = on_simplex(torch.tensor(point)).numpy()
            assert np.abs(found - slow_projection(point)).max() < 1 / 250


def test_projection_is_the_nearest_point_in_many_dimensions():
    """No feasible direction leads nearer: (p - x) . (q - x) <= 0 for every corner q of the simplex."""
    draw = torch.Generator().manual_seed(0)
    for size in (1, 4, 30):
        for scale in (0.01, 1.0, 100.0):
            point = scale * torch.randn(size, dtype=torch.float64, generator=draw)
            found = on_simplex(point)
            assert found.min() >= 0 and found.sum().item() == pytest.approx(1)
            corners = torch.eye(size, dtype=torch.float64)
            assert (((corners - found) @ (point - found)) <= 1e-9 * scale).all()
            torch.testing.assert_close(on_simplex(found), found)
            order = torch.randperm(size, generator=draw)
            torch.testing.assert_close(on_simplex(point[order]), found[order])


@pytest.mark.parametrize(
    ("before", "after"),
    [((0.5, 0.5), (0.5, 0.5)), ((0.9, 0.5), (0.7, 0.3)), ((2.0, 0.5), (1.0, 0.0)), ((-3, -1), (0, 1))],
)
def test_projection_by_hand(before, after):
    assert on_simplex(torch.tensor(before, dtype=torch.float64)).tolist() == pytest.approx(after)


# On a network.


def new_model(name="conv", **changes):
    torch.manual_seed(0)
    given = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.25}
    return create_model(name, **(given | changes)).double()


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def matrices(model):
    return {
        f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }


@pytest.mark.parametrize("name", ["conv", "wrn16"])
def test_every_weight_is_retracted_and_nothing_else_moves(name):
    model = new_model(name, width=0.25)
    before, layers = snapshot(model), matrices(model)
    REG(beta=0.004).after_step(model, seed=1)
    assert len(layers) == {"conv": 4, "wrn16": 17}[name]  # stems, skips and readouts among them
    for key, found in model.state_dict().items():
        if key in layers:
            old = before[key].flatten(1).numpy()
            expected = 1.004 * old - 0.004 * old @ old.T @ old
            np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=0, atol=1e-13)
        else:
            assert torch.equal(found, before[key]), key


def test_a_wide_linear_layer_is_retracted_by_random_rows():
    model = nn.Sequential(nn.Linear(50, 200), nn.Linear(200, 199), nn.Conv2d(2, 220, 1)).double()
    before = snapshot(model)
    chosen = {}
    for seed in (1, 2, 1):
        model.load_state_dict(before)
        REG(beta=0.1).after_step(model, seed=seed)
        old, new = before["0.weight"], model[0].weight.detach()
        rows = (old != new).any(1).nonzero()[:, 0]
        assert len(rows) == 60
        part = old[rows]
        torch.testing.assert_close(new[rows], 1.1 * part - 0.1 * part @ part.T @ part)
        for whole in ("1.weight", "2.weight"):  # 199 rows, and a convolution: as a whole
            part = before[whole].flatten(1)
            found = model.state_dict()[whole].flatten(1)
            torch.testing.assert_close(found, 1.1 * part - 0.1 * part @ part.T @ part)
        assert seed not in chosen or torch.equal(chosen[seed], rows)
        chosen[seed] = rows
    assert not torch.equal(chosen[1], chosen[2])


def test_all_rows_on_request():
    model = nn.Linear(30, 250).double()
    old = model.weight.detach().clone()
    REG(beta=0.1, linear_rows=1.0).after_step(model, seed=0)
    torch.testing.assert_close(model.weight.detach(), 1.1 * old - 0.1 * old @ old.T @ old)


def test_residual_weights_are_projected():
    model = new_model("wrn16", width=0.1)
    blocks = [module for module in model.modules() if isinstance(module, PreActivationBlock)]
    with torch.no_grad():
        for at, block in enumerate(blocks):
            block.weights.copy_(torch.tensor([0.9 + at, 0.5]))
    REG().after_step(model, seed=0)
    assert blocks[0].weights.tolist() == pytest.approx([0.7, 0.3])
    assert all(block.weights.tolist() == [1.0, 0.0] for block in blocks[1:])
    assert len(blocks) == 6


def test_neither_the_callers_generator_nor_the_momentum_notices():
    model = nn.Sequential(nn.Linear(20, 230), nn.ReLU(), nn.Linear(230, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(4, 20)).sum().backward()
    optimizer.step()
    buffers = [optimizer.state[part]["momentum_buffer"].clone() for part in model.parameters()]
    random = torch.get_rng_state()
    REG(beta=0.1).after_step(model, seed=3)
    assert torch.equal(torch.get_rng_state(), random)
    for part, held in zip(model.parameters(), buffers, strict=True):
        assert torch.equal(optimizer.state[part]["momentum_buffer"], held)
        assert part.requires_grad and part.grad is not None


def test_memory_layout_of_the_weights_is_kept():
    model = new_model()
    assert model.body[1].weight.is_contiguous(memory_format=torch.channels_last)
    REG().after_step(model, seed=0)
    assert model.body[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_training_with_it_keeps_singular_values_near_one():
    data = load_data("digits", validation=50, train_limit=320)
    spreads = []
    for defenses in ([], [AdversarialTraining(eps=0.05), REG(beta=0.2)]):
        compose(defenses)
        torch.manual_seed(0)
        model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, mean=data.mean)
        config = TrainConfig(epochs=2, batch_size=32, augmentation=None, device="cpu", precision="fp32")
        train(model, data, defenses, config, show=False)
        values = torch.linalg.svdvals(model.body[-1].weight.detach())
        spreads.append((values - 1).abs().max().item())
    assert spreads[1] < 0.2 < spreads[0]


@pytest.mark.parametrize(
    "bad",
    [{"beta": 0.0}, {"beta": 1.0}, {"beta": -0.1}, {"beta": math.nan}, {"linear_rows": 0.0}, {"linear_rows": 1.1}],
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses(*bad, *bad.values()):
        REG(**bad)
