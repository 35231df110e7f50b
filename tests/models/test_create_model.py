"""Networks by name: sizes, counts and refusals."""

import pytest
import torch
from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Site, sites


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(*args, **kwargs):
    """Shapes without the weights: vgg11 has 61 million."""
    with torch.device("meta"):
        return create_model(*args, **kwargs)


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [("vgg11", 10, 61_377_034), ("vgg11", 100, 61_745_764), ("wrn16", 10, 2_748_902), ("wrn16", 100, 2_772_032)],
)
def test_parameter_counts_of_the_papers_code(name, num_classes, parameters):
    assert count(on_meta(name, num_classes=num_classes)) == parameters


LAYOUTS = {  # (channels of each block, poolings, hidden features), from the papers' description
    "conv": ([16, 32], 2, [128]),
    "vgg5": ([64, 128, 128], 2, [4096, 4096]),
    "vgg11": ([64, 128, 256, 512, 512, 512, 512, 512], 3, [4096, 4096]),
    "vgg16": ([64] * 2 + [128] * 2 + [256] * 3 + [512] * 6, 5, [4096, 4096]),
}


@pytest.mark.parametrize("width", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "image_size"), [("conv", 8), ("vgg5", 32), ("vgg11", 32), ("vgg11", 8), ("vgg16", 32)]
)
def test_vgg_parameters_and_sites_by_hand(name, image_size, in_channels, width):
    blocks, poolings, hidden = LAYOUTS[name]
    expected, before = 0, in_channels
    for channels in (int(width * c) for c in blocks):
        expected += 9 * before * channels + channels + 2 * channels  # convolution with bias, batch norm
        before = channels
    before *= (image_size // 2**poolings) ** 2
    for features in (int(width * f) for f in hidden):
        expected += before * features + features
        before = features
    expected += before * 7 + 7
    model = on_meta(name, num_classes=7, in_channels=in_channels, image_size=image_size, width=width)
    assert count(model) == expected
    assert len(sites(model)) == len(blocks) + len(hidden)


@pytest.mark.parametrize(("name", "number"), [("conv", 3), ("vgg5", 5), ("vgg11", 10), ("vgg16", 15), ("wrn16", 13)])
def test_number_of_sites(name, number):
    assert len(sites(on_meta(name, num_classes=10))) == number


@pytest.mark.parametrize(("name", "neurons"), [("vgg11", 286_720), ("wrn16", 475_136)])
def test_neurons_per_step_of_the_papers_code(name, neurons):
    model = on_meta(name, num_classes=10, num_steps=1)
    seen = []
    for site in sites(model).values():
        site.register_forward_hook(lambda module, inputs, output: seen.append(output.numel() * module.pool**2))
    model(torch.empty(1, 3, 32, 32, device="meta"))
    assert sum(seen) == neurons


@pytest.mark.sweep
@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "image_size"),
    [("conv", 8), ("vgg5", 8), ("vgg11", 8), ("vgg11", 64), ("vgg16", 32), ("vgg16", 64), ("wrn16", 8), ("wrn16", 64)],
)
def test_every_size_runs_forward_and_back(name, image_size, in_channels, num_steps):
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.1, decay=0.5)  # low, so that an untrained network is alive to its last site
    sizes = {"image_size": image_size, "in_channels": in_channels, "num_steps": num_steps}
    model = create_model(name, num_classes=5, width=0.03, neuron=neuron, **sizes)
    images = torch.rand(2, in_channels, image_size, image_size, requires_grad=True)
    assert model.forward_steps(images).shape == (num_steps, 2, 5)
    logits = model(images)
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert images.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "wrn16"])
def test_images_of_64_pixels_enter_by_a_stride_of_2_into_the_network_of_32(name):
    small, large = (on_meta(name, num_classes=10, image_size=size, width=0.1) for size in (32, 64))
    assert [p.shape for p in small.parameters()] == [p.shape for p in large.parameters()]
    first = next(module for module in large.modules() if isinstance(module, nn.Conv2d))
    assert first.stride == (2, 2)


def test_wrn16_blocks_mix_raw_skip_and_branch_half_and_half():
    model = on_meta("wrn16", num_classes=10)
    blocks = [module for module in model.modules() if hasattr(module, "skip")]
    assert [block.skip is None for block in blocks] == [False, True] * 3
    torch.manual_seed(0)
    block = create_model("wrn16", num_classes=2, width=0.1, num_steps=2).eval().body[1]
    assert block.weights.tolist() == [0.5, 0.5] and block.weights.requires_grad
    currents = torch.randn(4, 6, 8, 8)
    nn.init.zeros_(block.conv_out.weight)
    torch.testing.assert_close(block(currents), 0.5 * currents)


def test_wrn16_skip_of_a_new_shape_takes_the_spikes():
    torch.manual_seed(0)
    block = create_model("wrn16", num_classes=2, width=0.1, num_steps=2).eval().body[2]
    currents = 2 * torch.randn(4, 6, 8, 8)
    nn.init.zeros_(block.conv_out.weight)
    spikes = block.site_in(currents)
    assert 0 < spikes.mean() < 1 and block.skip.kernel_size == (1, 1) and block.skip.stride == (2, 2)
    torch.testing.assert_close(block(currents), 0.5 * block.skip(spikes))


def test_start_is_kaiming_fan_out_with_zero_linear_bias():
    torch.manual_seed(0)
    model = create_model("vgg5", num_classes=10, image_size=8)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        expected = (2 / (9 * module.out_channels)) ** 0.5
        assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert all(not module.bias.any() for module in model.modules() if isinstance(module, nn.Linear))


def test_neuron_and_steps_reach_every_site():
    neuron = Neuron(decay=0.5, reset="soft")
    model = on_meta("wrn16", num_classes=10, num_steps=6, neuron=neuron, kernels="fused")
    assert all((s.neuron, s.num_steps, s.kernels) == (neuron, 6, "fused") for s in sites(model).values())
    assert not any(isinstance(module, Site) for module in model.stem.modules())


def test_normalisation_is_inside_the_model():
    torch.manual_seed(0)
    model = create_model("conv", num_classes=4, image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    plain = create_model("conv", num_classes=4, image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(3, 3, 8, 8)
    normalised = torch.stack([(images[:, c] - m) / s for c, m, s in ((0, 0.1, 0.5), (1, 0.2, 0.6), (2, 0.3, 0.7))], 1)
    torch.testing.assert_close(model(images), plain(normalised))


@pytest.mark.parametrize(
    ("changed", "piece"),
    [
        ({"name": "vgg13"}, "vgg13"),
        ({"num_classes": 1}, "num_classes"),
        ({"num_steps": 0}, "num_steps"),
        ({"image_size": 0}, "image_size"),
        ({"in_channels": 0}, "in_channels"),
        ({"width": 0.0}, "width"),
        ({"width": float("nan")}, "width"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"std": (0.5,) * 4}, "std"),
        ({"std": (0.0,) * 3}, "std"),
        ({"name": "vgg16", "image_size": 16}, "16 pixels"),
        ({"name": "wrn16", "image_size": 3}, "4 pixels"),
    ],
    ids=str,
)
def test_impossible_networks_are_refused_in_one_sentence(changed, piece):
    arguments = {"name": "conv", "num_classes": 10, "image_size": 8} | changed
    with pytest.raises(SpikeproofError, match=piece) as caught:
        create_model(**arguments)
    assert "\n" not in str(caught.value)
