"""Operations against a literal count: pixel by pixel, tap by tap."""

import dataclasses

import pytest
import torch
from torch import nn

from spikeproof.coding import Poisson
from spikeproof.insight import SynapticOperations, synaptic_operations
from spikeproof.insight.energy import _reached
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, sites

STEPS = 3


def model_of(name="conv", size=8, channels=1, coding=None, width=0.25):
    torch.manual_seed(0)
    model = create_model(
        name,
        num_classes=10,
        num_steps=STEPS,
        width=width,
        image_size=size,
        in_channels=channels,
        neuron=Neuron(threshold=0.5),
        coding=coding,
    )
    model.train()
    for _ in range(3):  # running statistics of real forwards, so that layers do fire in eval mode
        model(torch.rand(16, channels, size, size))
    return model.eval()


def seen(model, images):
    """Every layer with its input, and whether it is of the stem."""
    found, stem = [], set(model.stem.modules())
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: found.append((layer, given[0], layer in stem)))
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def literal(layer, given, *, dense=False):
    """One by one: every output, every tap that meets an input that is not 0 (or any, where dense)."""
    if isinstance(layer, nn.Linear):
        return sum(layer.out_features for value in given.flatten().tolist() if value or dense)
    (down, across), (above, left) = layer.stride, layer.padding
    _, _, height, width = given.shape
    count = 0
    for sample in given.tolist():
        for channel in sample:
            for row in range((height + 2 * above - layer.kernel_size[0]) // down + 1):
                for column in range((width + 2 * left - layer.kernel_size[1]) // across + 1):
                    for i in range(layer.kernel_size[0]):
                        for j in range(layer.kernel_size[1]):
                            y, x = row * down + i - above, column * across + j - left
                            if 0 <= y < height and 0 <= x < width and (channel[y][x] or dense):
                                count += layer.out_channels
    return count


@pytest.mark.parametrize("coding", [None, Poisson()], ids=["direct", "poisson"])
def test_against_the_literal_count(coding):
    model, images = model_of(coding=coding), torch.rand(3, 1, 8, 8)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # as the count does, so that a random coding gives the same frames
        layers = seen(model, images)
    additions = sum(literal(layer, given) for layer, given, stem in layers if not stem)
    multiplications = sum(literal(layer, given, dense=True) for layer, given, stem in layers if stem)
    counted = synaptic_operations(model, images)
    assert additions > 0
    assert counted.additions * 3 == pytest.approx(additions, rel=1e-12)
    assert counted.multiplications * 3 == pytest.approx(multiplications, rel=1e-12)
    frames = 1 if coding is None else STEPS
    assert counted.multiplications == frames * 22 * 22 * model.stem.out_channels


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(3, 5, 1, stride=2),
        nn.Conv2d(3, 2, (3, 2), stride=(1, 2), padding=(2, 0)),
    ],
    ids=["strided", "1x1", "oblong"],
)
@pytest.mark.parametrize("size", [5, 6])
def test_borders_and_strides(layer, size):
    given = (torch.rand(2, 3, size, size) < 0.4).float()
    assert _reached(layer, given != 0) == literal(layer, given)
    assert _reached(layer, torch.ones_like(given)) == literal(layer, given, dense=True)


def test_groups_and_taps_apart():
    """Against the gradient of a layer of ones: it says how many outputs each input reaches."""
    layer = nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, bias=False)
    nn.init.ones_(layer.weight)
    given = (torch.rand(2, 4, 7, 7) < 0.5).float().requires_grad_()
    (fan_out,) = torch.autograd.grad(layer(given).sum(), given)
    assert _reached(layer, given != 0) == (fan_out * given).sum().item()


@pytest.mark.parametrize(
    ("name", "width"), [("vgg11", 1 / 32), ("wrn16", 1 / 8), ("sew-resnet19", 1 / 16), ("resnet19", 1 / 16)]
)
def test_every_kind_of_network(name, width):
    model, images = model_of(name, size=32, channels=3, width=width), torch.rand(2, 3, 32, 32)
    expected = {"additions": 0.0, "multiplications": 0.0}
    for layer, given, stem in seen(model, images):
        fan_out = fan_out_of(layer, given)
        if stem:
            expected["multiplications"] += fan_out.sum().item()
        else:
            kind = "multiplications" if (given < 0).any() else "additions"
            expected[kind] += fan_out[given != 0].sum().item()
    counted = synaptic_operations(model, images)
    assert counted.additions == pytest.approx(expected["additions"] / 2, rel=1e-12)
    assert counted.multiplications == pytest.approx(expected["multiplications"] / 2, rel=1e-12)
    assert counted.additions > 0
    # Behind the first of resnet19's two linear layers is a batch norm and no neuron: currents, not spikes.
    stem_alone = 94 * 94 * 3 * model.stem.out_channels
    assert (counted.multiplications > stem_alone) == (name == "resnet19")


def fan_out_of(layer, given):
    """The gradient of a layer of ones by its inputs."""
    given = torch.zeros_like(given, dtype=torch.float64).requires_grad_()
    ones = torch.ones_like(layer.weight, dtype=torch.float64)
    if isinstance(layer, nn.Linear):
        out = nn.functional.linear(given, ones)
    else:
        out = nn.functional.conv2d(given, ones, None, layer.stride, layer.padding)
    return torch.autograd.grad(out.sum(), given)[0]


def test_no_spike_no_addition():
    model = model_of()
    for site in sites(model).values():
        site.neuron = dataclasses.replace(site.neuron, threshold=1e9)
    counted = synaptic_operations(model, torch.rand(4, 1, 8, 8))
    assert counted.additions == 0
    assert counted.multiplications > 0


def test_more_images_are_a_mean_over_batches():
    model, images = model_of(), torch.rand(53, 1, 8, 8)  # two batches
    one_by_one = [synaptic_operations(model, image[None]).additions for image in images]
    assert synaptic_operations(model, images).additions == pytest.approx(sum(one_by_one) / 53)
    assert len(set(one_by_one)) > 1


def test_picojoules():
    assert SynapticOperations(additions=1000.0, multiplications=10.0).picojoules == pytest.approx(946.0)


def test_no_images_are_refused(refuses):
    with refuses("one image", "none"):
        synaptic_operations(model_of(), torch.rand(0, 1, 8, 8))


def test_a_random_model_is_counted_alike_twice_and_leaves_no_trace():
    model = model_of(coding=Poisson()).train()
    torch.manual_seed(7)
    state, images = torch.get_rng_state(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert synaptic_operations(model, images) == synaptic_operations(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_hooks_go_when_a_forward_fails():
    model = model_of()
    with pytest.raises(RuntimeError):
        synaptic_operations(model, torch.rand(2, 3, 8, 8))
    assert not any(module._forward_pre_hooks for module in model.modules())
