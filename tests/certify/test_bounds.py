"""Interval bounds of whole networks: layers hold what images of the ball make of them, and nothing breaks a proof."""

import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from digit_networks import network
from spikeproof.attacks import judge
from spikeproof.certify import never_another
from spikeproof.certify.interval import Interval, Rounding
from spikeproof.certify.layers import through
from spikeproof.data import load_data
from spikeproof.defenses import FEEL, HoSNN
from spikeproof.models import MODELS, SpikingModel, create_model
from spikeproof.spiking import Neuron, Site
from spikeproof.threat import Linf

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
from every_attack import EVERY  # noqa: E402

FLOAT32 = Rounding.of(torch.float32, torch.device("cpu"))
SIZES = {"conv": (8, 0.25), "vgg5": (8, 0.01), "vgg11": (16, 0.03), "vgg16": (32, 0.03)}


@pytest.fixture(scope="module")
def digits():
    data = load_data("digits", validation=100)
    return data.test.images[:150].float() / 255, data.test.labels[:150]


@pytest.fixture(scope="module", params=["tiny", "learned"])
def proved(request, digits):
    """A network of digits, and the images that it is right about and that are proved, within half a grey level."""
    model, threat = network(request.param), Linf(0.5 / 255)
    images, labels = digits
    held = never_another(model, images, labels, threat) & (judge(model, images).argmax(1) == labels)
    assert held.sum() > 20
    return model, images[held], labels[held], threat


def within(ball, share):
    return (ball.low + share * (ball.high - ball.low)).float()


def trained_looking(model):
    """Batch norms that have seen something, and not zero and one."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.1, 0.6)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.uniform_(module.bias, -0.1, 0.4)
    return model.eval()


@pytest.mark.sweep
@pytest.mark.parametrize("batch_norm", ["merged", "per-step"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_every_network_holds_what_images_of_the_ball_make_of_it(name, reset, batch_norm):
    torch.manual_seed(0)
    size, width = SIZES.get(name, (8, 0.05))
    neuron = Neuron(decay=0.8, threshold=0.6, reset=reset)
    model = create_model(
        *(name,), num_classes=3, image_size=size, width=width, num_steps=3, neuron=neuron, batch_norm=batch_norm
    )
    trained_looking(model)
    images = torch.rand(2, 3, size, size)
    ball = Interval((images.double() - 1e-4).clamp(0, 1), (images.double() + 1e-4).clamp(0, 1))
    layers = [model.stem, *model.body]
    bounds, given = [], ball
    for layer in layers:
        given = through(layer, given, FLOAT32)
        bounds.append(given)
    first = bounds[1]  # of spikes, pooled where the network does that, or of the first block
    assert ((first.high - first.low) < 0.05).double().mean() > 0.5  # the bounds say something
    for _ in range(20):
        passed = within(ball, torch.rand(ball.low.shape, dtype=torch.float64).round())
        with torch.no_grad():
            for layer, bound in zip(layers, bounds, strict=True):
                passed = layer(passed)
                assert (passed >= bound.low).all() and (passed <= bound.high).all()


def one_layer(steps, reset, pixels):
    """A network of one neuron for each pixel, and three classes that read them."""
    described = create_model("conv", num_classes=3, image_size=8, in_channels=1, num_steps=steps).description
    stem = nn.Conv2d(1, 1, 1)
    site = Site(Neuron(threshold=0.5, reset=reset), steps, constant=True)
    model = SpikingModel(stem, nn.Sequential(site, nn.Flatten(), nn.Linear(pixels, 3)), description=described)
    nn.init.constant_(stem.weight, 0.9)
    nn.init.constant_(stem.bias, 0.05)
    return model.eval()


def test_where_neurons_do_not_share_pixels_the_bounds_are_the_truth():
    """One step, one pixel a neuron: each corner of the ball is asked, and a proof is missing where one errs alone."""
    counts = []
    for seed in range(12):
        torch.manual_seed(seed)
        model = one_layer(1, "hard", 4)
        images, threat = torch.rand(50, 1, 2, 2), Linf(0.1)
        classes = model(images).argmax(1)
        held = never_another(model, images, classes, threat)
        true = torch.ones_like(held)
        for signs in itertools.product((-1, 1), repeat=4):
            corner = (images + threat.eps * torch.tensor(signs).view(1, 1, 2, 2)).clamp(0, 1)
            true &= model(corner).argmax(1) == classes
        assert torch.equal(held, true)
        counts.append(int(true.sum()))
    assert 0 < sum(counts) < 12 * 50


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_over_several_steps_a_proof_is_never_false_and_often_there(reset):
    """Two pixels: every image of a fine grid in the ball is asked."""
    proofs = truths = 0
    for seed in range(6):
        torch.manual_seed(100 + seed)
        model, threat = one_layer(4, reset, 2), Linf(0.03)
        images = torch.rand(20, 1, 1, 2)
        classes = model(images).argmax(1)
        held = never_another(model, images, classes, threat)
        line = torch.linspace(-threat.eps, threat.eps, 41)
        grid = torch.cartesian_prod(line, line).view(-1, 1, 1, 2)
        for image, own, proved in zip(images, classes, held, strict=True):
            true = bool((model((image + grid).clamp(0, 1)).argmax(1) == own).all())
            assert true or not proved
            proofs, truths = proofs + int(proved), truths + true
    assert proofs > 0.6 * truths


def test_no_image_of_the_ball_is_of_another_class(proved):
    model, images, labels, threat = proved
    torch.manual_seed(0)
    for _ in range(20):
        noise = 2 * torch.rand_like(images) - 1
        for moved in (noise, noise.sign()):
            asked = threat.project(images + threat.eps * moved, images)
            assert (model(asked).argmax(1) == labels).all()


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name, case in EVERY.items() if case.near and case.norm == "linf"])
def test_no_attack_breaks_a_proof(proved, name):
    model, images, labels, threat = proved
    assert EVERY[name](model, images, labels, threat).correct.all()


def test_a_larger_ball_has_fewer_proofs(digits):
    model = network("tiny")
    images = digits[0]
    classes = judge(model, images).argmax(1)
    held = [never_another(model, images, classes, Linf(eps / 255)) for eps in (0.25, 0.5, 1, 2, 8)]
    for smaller, larger in itertools.pairwise(held):
        assert not (larger & ~smaller).any()
    counts = [int(each.sum()) for each in held]
    assert counts[0] > 100 and counts[-1] == 0


def test_a_class_that_the_network_does_not_say_is_never_proved(digits):
    model = network("tiny")
    classes = judge(model, digits[0]).argmax(1)
    assert not never_another(model, digits[0], (classes + 1) % 10, Linf(1e-6)).any()


def test_in_float64_less_is_lost_to_rounding(digits):
    images = digits[0]
    narrow, wide = network("learned"), network("learned").double()
    classes = judge(narrow, images).argmax(1)
    held = never_another(narrow, images, classes, Linf(1e-5)), never_another(wide, images.double(), classes, Linf(1e-5))
    assert not (held[0] & ~held[1]).any()


def test_learned_decays_are_bounded_and_moving_thresholds_refused(refuses):
    model, images = network("tiny"), torch.rand(4, 1, 8, 8)
    for site in (module for module in model.modules() if isinstance(module, Site)):
        site.decay = nn.Parameter(torch.rand(2, 1, 1, 1) if site.norm is not None else torch.rand(2, 1))
    classes = model(images).argmax(1)
    assert never_another(model, images, classes, Linf(1e-6)).any()
    adapting = network("tiny")
    HoSNN().install(adapting)
    with refuses("HoSNN", "smoothing"):
        never_another(adapting, images, classes, Linf(1e-3))
    coded = network("tiny")
    FEEL().install(coded)
    with refuses("direct coding", "smoothing"):
        never_another(coded, images, classes, Linf(1e-3))


def test_what_has_no_bounds_is_refused(refuses):
    images, classes, threat = torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), Linf(1e-3)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with refuses("create_model", "Sequential", "smoothing"):
        never_another(plain, images, classes, threat)
    odd = network("tiny")
    odd.body.insert(3, nn.Tanh())
    with refuses("Tanh", "smoothing"):
        never_another(odd, images, classes, threat)
    noisy = network("tiny")
    noisy.body[0].noise_std, noisy.body[0].noise_at_inference = 0.1, True
    with refuses("random numbers", "smoothing"):
        never_another(noisy, images, classes, threat)
    with refuses("running statistics"):
        never_another(network("tiny").train(), images, classes, threat)
