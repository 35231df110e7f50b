"""Every network by name: sizes, channels, kinds of batch norm, parameter counts by hand, kernels and disk."""

import functools

import pytest
import torch
from torch import nn

from spikeproof.models import MODELS, create_model, load_model, save_model, site_shapes
from spikeproof.models.entry import entry
from spikeproof.models.resnet import Block
from spikeproof.models.sew_resnet import SEWBlock
from spikeproof.spiking import Neuron, sites

# The smallest images that a network takes, and how many neurons' layers it has.
SMALLEST = {
    "conv": 4,
    "vgg5": 4,
    "vgg11": 8,
    "vgg16": 32,
    "wrn16": 4,
    "resnet17": 5,
    "resnet18": 4,
    "resnet19": 5,
    "sew-resnet19": 4,
}
SITES = {"resnet17": 15, "resnet18": 17, "resnet19": 17, "sew-resnet19": 22}
SIZES = [8, 28, 32, 64, 96, 128]
CLAIMED = [(name, size) for name in SMALLEST for size in SIZES if size >= SMALLEST[name]]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(*args, **kwargs):
    """Shapes without the weights."""
    with torch.device("meta"):
        return create_model(*args, **kwargs)


def narrow(name, image_size, **options):
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.1, decay=0.5)  # low, so that an untrained network is alive to its last site
    sizes = {"num_classes": 5, "num_steps": 2, "width": 0.03, "image_size": image_size, "neuron": neuron}
    return create_model(name, **(sizes | options))


def test_every_network_is_here():
    assert set(SMALLEST) == set(MODELS)


@pytest.mark.sweep
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(("name", "image_size"), CLAIMED)
def test_every_size_runs_forward_and_back(name, image_size, in_channels):
    model = narrow(name, image_size, in_channels=in_channels)
    images = torch.rand(2, in_channels, image_size, image_size, requires_grad=True)
    steps = model.forward_steps(images)
    assert steps.shape == (2, 2, 5)
    steps.mean(0).square().sum().backward()
    assert images.grad.isfinite().all() and images.grad.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("batch_norm", ["td", "per-step"])
@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_every_kind_of_batch_norm(name, batch_norm):
    size = max(8, SMALLEST[name])
    model = narrow(name, size, batch_norm=batch_norm, neuron=Neuron())
    images = torch.rand(4, 3, size, size, requires_grad=True)
    logits = model(images)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert images.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_smaller_images_are_refused(name, refuses):
    on_meta(name, num_classes=10, image_size=SMALLEST[name])
    with refuses(f"{SMALLEST[name] - 1}", "pixels"):
        on_meta(name, num_classes=10, image_size=SMALLEST[name] - 1)


@pytest.mark.parametrize("image_size", [8, 31, 32, 63, 64, 65, 95, 96, 127, 128, 131, 160, 192, 200, 224, 255])
def test_every_pixel_enters(image_size):
    stem, size = entry(2, 4, image_size)
    for part in stem.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1.0)
    images = torch.rand(1, 2, image_size, image_size, requires_grad=True)
    out = stem(images)
    assert out.shape == (1, 4, size, size) and size <= 64
    out.sum().backward()
    assert (images.grad > 0).all()


# Parameter counts, by hand from the papers' descriptions: a convolution k x k from a to b channels without bias has
# k k a b weights, a batch norm of c channels 2 c parameters.


def conv_norm(taps, inner, outer):
    return taps * taps * inner * outer + 2 * outer


def residual(inner, outer, projects):
    return conv_norm(3, inner, outer) + conv_norm(3, outer, outer) + projects * conv_norm(1, inner, outer)


def linear(inner, outer):
    return inner * outer + outer


@functools.cache
def by_hand(name, classes):
    if name == "resnet17":  # 64 x 3 at 16x16, 128 x 4 at 8x8, pooled to 4x4
        blocks = residual(64, 64, True) + 2 * residual(64, 64, False)
        blocks += residual(64, 128, True) + 3 * residual(128, 128, False)
        return conv_norm(3, 3, 64) + blocks + linear(128 * 4 * 4, 256) + 2 * 256 + linear(256, classes)
    if name == "resnet19":  # 128 x 3 at 32x32, 256 x 3 at 16x16, 512 x 2 at 8x8, pooled to 4x4
        blocks = residual(128, 128, True) + 2 * residual(128, 128, False)
        blocks += residual(128, 256, True) + 2 * residual(256, 256, False)
        blocks += residual(256, 512, True) + residual(512, 512, False)
        return conv_norm(3, 3, 128) + blocks + linear(512 * 4 * 4, 256) + 2 * 256 + linear(256, classes)
    if name == "resnet18":
        blocks = 2 * residual(64, 64, False)
        for inner, outer in ((64, 128), (128, 256), (256, 512)):
            blocks += residual(inner, outer, True) + residual(outer, outer, False)
        return conv_norm(3, 3, 64) + blocks + linear(512, classes)
    blocks = 0  # sew-resnet19
    for inner, outer in ((64, 128), (128, 256), (256, 512)):
        blocks += residual(inner, outer, True) + 2 * residual(outer, outer, False)
    return conv_norm(3, 3, 64) + blocks + linear(512, classes)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("name", sorted(SITES))
def test_parameter_counts(name, classes):
    model = on_meta(name, num_classes=classes)
    assert count(model) == by_hand(name, classes)
    assert len(sites(model)) == SITES[name]


def test_resnet18_has_the_well_known_count():
    """11,173,962: the ResNet18 of 32x32 images and ten classes that everybody trains."""
    assert by_hand("resnet18", 10) == 11_173_962


def test_width_scales_every_channel_and_feature_count():
    for name in SITES:
        thin = dict(on_meta(name, num_classes=7, width=0.5).named_parameters())
        for key, whole in on_meta(name, num_classes=7).named_parameters():
            fixed = (3, 7) if whole.ndim > 1 else (7,)
            assert [size if size in fixed else size // 2 for size in whole.shape[:2]] == list(thin[key].shape[:2]), key


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet17", [(32, 64)] + [(16, 64)] * 6 + [(8, 128)] * 8),
        ("resnet18", [(32, 64)] * 5 + [(16, 128)] * 4 + [(8, 256)] * 4 + [(4, 512)] * 4),
        ("resnet19", [(32, 128)] * 7 + [(16, 256)] * 6 + [(8, 512)] * 4),
        ("sew-resnet19", [(32, 64)] + [(16, 128)] * 7 + [(8, 256)] * 7 + [(4, 512)] * 7),
    ],
)
def test_sizes_and_channels_of_every_layer_of_neurons(name, shapes):
    found = site_shapes(create_model(name, num_classes=2, num_steps=1, width=1 / 64))
    assert [(size, channels * 64) for size, _, channels in found.values()] == shapes


@pytest.mark.parametrize("name", ["resnet17", "resnet18", "resnet19", "sew-resnet19"])
def test_sites_are_listed_in_the_order_of_the_forward(name):
    model = narrow(name, 8)
    called = []
    for key, site in sites(model).items():
        site.register_forward_hook(lambda module, given, out, key=key: called.append(key))
    model(torch.rand(2, 3, 8, 8))
    assert called == list(sites(model))
    assert [site.constant for site in sites(model).values()] == [True] + [False] * (len(called) - 1)


def test_shortcuts():
    shortcuts = {
        name: [block.skip is not None for block in model.modules() if isinstance(block, Block | SEWBlock)]
        for name, model in ((name, on_meta(name, num_classes=2)) for name in SITES)
    }
    first, plain = True, False
    assert shortcuts == {
        "resnet17": [first, plain, plain, first, plain, plain, plain],
        "resnet18": [plain, plain, first, plain, first, plain, first, plain],
        "resnet19": [first, plain, plain, first, plain, plain, first, plain],
        "sew-resnet19": [first, plain, plain, first, plain, plain, first, plain, plain],
    }


def test_a_block_adds_currents_and_then_fires():
    torch.manual_seed(0)
    block = next(part for part in narrow("resnet17", 8, width=0.1).eval().modules() if isinstance(part, Block))
    x = torch.randn(4, 6, 8, 8)
    h = block.norm_out.norm(block.conv_out(block.site_in(block.conv_in(x))))
    projected = block.skip[1].norm(block.skip[0](x))
    assert torch.equal(block(x), block.site_out(h + projected))
    assert block.site_out.norm is None and block(x).unique().tolist() == [0.0, 1.0]


def test_a_sew_block_adds_spikes():
    torch.manual_seed(0)
    model = narrow("sew-resnet19", 8, width=0.1).eval()
    first, second = [part for part in model.modules() if isinstance(part, SEWBlock)][:2]
    spikes = first(torch.randn(4, 6, 8, 8))
    assert set(spikes.unique().tolist()) == {0.0, 1.0, 2.0}
    assert set(second(spikes).unique().tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_the_rga_family_has_no_neuron_between_its_linear_layers():
    for name in ("resnet17", "resnet19"):
        *_, flatten, hidden, norm, last = on_meta(name, num_classes=10).body
        kinds = [type(part).__name__ for part in (flatten, hidden, norm, last)]
        assert kinds == ["Flatten", "Linear", "CurrentNorm", "Linear"]


@pytest.mark.parametrize("name", ["resnet17", "resnet18", "resnet19", "sew-resnet19"])
def test_the_stem_once_is_the_stem_on_every_copy(name):
    model = narrow(name, 8).double().eval()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    once = model(images)
    next(iter(sites(model).values())).constant = False
    repeated = model.body(model.stem((images.repeat(2, 1, 1, 1) - model.mean) / model.std))
    every = repeated.unflatten(0, (2, -1)).mean(0)
    torch.testing.assert_close(once, every, rtol=1e-12, atol=1e-12)
    ours, slow = (torch.autograd.grad(logits.square().sum(), images)[0] for logits in (once, every))
    assert ours.any()
    torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_weights_come_back_from_disk(name, tmp_path):
    size = SMALLEST[name]
    model = narrow(name, size)
    with torch.no_grad():
        model.train()(torch.rand(8, 3, size, size))
    save_model(model.eval(), tmp_path / "model")
    loaded = load_model(tmp_path / "model", expected=model.description)
    images = torch.rand(3, 3, size, size)
    assert torch.equal(model(images), loaded(images))


@pytest.mark.sweep
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet17", "sew-resnet19"])
def test_fused_kernels_give_the_same(name, training):
    found = []
    for kernels in ("reference", "fused"):
        model = narrow(name, 8, kernels=kernels, width=0.1, neuron=Neuron()).double().train(training)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 0.7)  # so that every layer fires
        images = torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        images.requires_grad_()
        logits = model(images)
        found.append([logits, *torch.autograd.grad(logits.square().sum(), [images, *model.parameters()])])
    for fused, reference in zip(*reversed(found), strict=True):
        scale = reference.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(fused, reference, rtol=0, atol=1e-9 * scale)
