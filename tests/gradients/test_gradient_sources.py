"""Gradient sources: another backward, the same forward, no trace."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, crafting
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model
from spikeproof.spiking import ArcTan, Neuron, Rectangular, Sigmoid, Site, SuperSpike, Triangle, inference_noise, sites

SOURCES = [BPTT(), *(BPTT(kind(1.5)) for kind in (Triangle, Rectangular, Sigmoid, SuperSpike, ArcTan)), ASSG()]


def new_model(surrogate=None, **options):
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.5, **({} if surrogate is None else {"surrogate": surrogate}), **options)
    return create_model("conv", num_classes=6, image_size=8, in_channels=1, num_steps=3, neuron=neuron).eval()


@pytest.fixture
def model():
    return new_model()


@pytest.fixture
def images():
    return torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def input_gradient(model, images):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(model(images)[:, 0].sum(), images)[0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_forward_is_bit_identical(model, images, source):
    logits = model(images)
    assert logits.abs().max() > 0
    with source.attach(model):
        assert torch.equal(model(images), logits)
        assert torch.equal(model(images), logits)  # with a state from the first forward


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_forward_of_a_noisy_model_is_bit_identical(model, images, source):
    for site in sites(model).values():
        site.noise_std = 0.3
    outcomes = []
    with inference_noise(model, True):
        for attached in (False, True):
            torch.manual_seed(5)
            with (source if attached else BPTT()).attach(model):
                outcomes.append([model(images), model(images)])
    assert not torch.equal(outcomes[0][0], outcomes[0][1])
    assert all(torch.equal(*pair) for pair in zip(*outcomes, strict=True))


@pytest.mark.parametrize("source", SOURCES[1:], ids=lambda source: source.name)
def test_backward_changes_and_leaves_no_trace(model, images, source):
    own = input_gradient(model, images)
    before = {name: dict(vars(site)) for name, site in sites(model).items()}
    with source.attach(model):
        assert not torch.allclose(input_gradient(model, images), own)
    with pytest.raises(ZeroDivisionError), source.attach(model):
        model(images)
        raise ZeroDivisionError
    assert {name: dict(vars(site)) for name, site in sites(model).items()} == before
    assert torch.equal(input_gradient(model, images), own)


@pytest.mark.parametrize(
    "surrogate", [Triangle(0.4), Rectangular(2.0), Sigmoid(3.0), SuperSpike(1.0), ArcTan(5.0)], ids=str
)
def test_bptt_with_a_surrogate_is_the_model_built_with_it(model, images, surrogate):
    """To rounding, as a width runs as a sharpness of the unit shape; so in float64."""
    model, images = model.double(), images.double()
    with BPTT(surrogate).attach(model):
        found = input_gradient(model, images)
    expected = input_gradient(new_model(surrogate).double(), images)
    largest = expected.abs().max().item()
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14 * largest)


def test_names_tell_sources_apart():
    sources = [*SOURCES, BPTT(Triangle(0.5)), ASSG(half_mass=0.4), ASSG(momentum=0.5), ASSG(half_mass=0.4, relax=1.0)]
    assert len({source.name for source in sources}) == len(sources)
    assert ASSG(half_mass=0.43) == ASSG() and ASSG(half_mass=0.43).name == "ASSG"


class SlowAssg:
    """ASSG of one site from the formulas of the paper's code, element by element, in float64."""

    def __init__(self, source, neuron, steps):
        self.source, self.neuron, self.steps = source, neuron, steps
        self.mean, self.spread, self.alpha = {}, {}, {}

    def margins(self, current, n, c):
        """(u, v, s) of one neuron over time."""
        carried, found = 0.0, []
        for t in range(self.steps):
            u = self.neuron.decay * carried + current[t][n][c]
            v = u - self.neuron.threshold
            s = 1.0 if v >= 0 else 0.0
            carried = (1 - s) * u
            found.append((u, v, s))
        return found

    def forward_and_back(self, current, on_spikes, ids, *, hold=False):
        """d(sum of on_spikes * spikes)/d(current); ``ids`` says which original sample each row is."""
        b, source = self.source.momentum, self.source
        omega = 2 * math.tan(math.pi * source.half_mass) / math.pi
        gradient = torch.zeros_like(current)
        _, samples, channels = current.shape
        for n in range(samples):
            for c in range(channels):
                found = self.margins(current.tolist(), n, c)
                for t, (_, v, _) in enumerate(found):
                    key = (t, ids[n], c)
                    if not hold:
                        mean = b * self.mean.get(key, 1.0) + (1 - b) * abs(v)
                        spread = b * self.spread.get(key, 0.0) + (1 - b) * abs(abs(v) - mean)
                        self.mean[key], self.spread[key] = mean, spread
                        self.alpha[key] = omega / (mean + source.relax * spread + 1e-4)
                carried = 0.0
                for t in reversed(range(self.steps)):
                    u, v, s = found[t]
                    alpha = self.alpha[t, ids[n], c]
                    slope = alpha / (2 * (1 + (math.pi / 2 * alpha * v) ** 2))
                    on_u = on_spikes[t, n, c].item() * slope
                    on_u += carried * ((1 - s) - (0.0 if self.neuron.detach_reset else u * slope))
                    gradient[t, n, c] = on_u
                    carried = self.neuron.decay * on_u
        return gradient


@pytest.mark.parametrize(
    "source", [ASSG(), ASSG(half_mass=0.2, momentum=0.6, relax=0.5)], ids=lambda source: source.name
)
@pytest.mark.parametrize("neuron", [Neuron(), Neuron(decay=0.5, threshold=0.6, detach_reset=True)], ids=str)
def test_assg_is_the_papers_rule_through_forwards_keep_and_hold(neuron, source):
    steps, channels = 3, 4
    generator = torch.Generator().manual_seed(2)
    site, slow = Site(neuron, steps), SlowAssg(source, neuron, steps)

    def agree(ids, **options):
        current = torch.rand(steps, len(ids), channels, generator=generator, dtype=torch.float64) * 1.6 - 0.2
        weights = torch.randn(current.shape, generator=generator, dtype=torch.float64)
        merged = current.flatten(0, 1).requires_grad_()
        (found,) = torch.autograd.grad((site(merged) * weights.flatten(0, 1)).sum(), merged)
        expected = slow.forward_and_back(current, weights, ids, **options)
        torch.testing.assert_close(found.view(expected.shape), expected, rtol=1e-9, atol=1e-11)

    with source.attach(site) as attached:
        agree([0, 1, 2, 3, 4])
        agree([0, 1, 2, 3, 4])
        attached.keep(torch.tensor([0, 2, 3]))
        agree([0, 2, 3])
        attached.hold(True)
        agree([0, 2, 3], hold=True)
        agree([0, 2, 3], hold=True)
        attached.keep(torch.tensor([1, 2]))
        agree([2, 3], hold=True)
        attached.hold(False)
        agree([2, 3])
        attached.keep(torch.tensor([0, 1]))
        agree([2, 3])
    with source.attach(site):  # each attachment starts anew
        slow = SlowAssg(source, neuron, steps)
        agree([0, 1])


def test_assg_keeps_the_state_of_maps_by_sample():
    """On maps a sample owns H*W rows of the flat current: keeping it must keep all of them, in their order."""
    torch.manual_seed(0)
    batches = [torch.rand(3, 4, 5, 2, 3, dtype=torch.float64) for _ in range(2)]  # T, N, C, H, W
    kept = torch.tensor([1, 2])
    found = []
    for first, again in ((None, kept), (kept, None)):
        site = Site(Neuron(), 3)
        with ASSG().attach(site) as attached:
            site((batches[0] if first is None else batches[0][:, first]).flatten(0, 1))
            if again is not None:
                attached.keep(again)
            current = batches[1][:, kept].flatten(0, 1).requires_grad_()
            found.append(torch.autograd.grad(site(current).sum(), current)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)


def test_rescaled_unit_arctan_is_the_arctan_of_that_sharpness():
    """The identity ASSG rests on: a h_1(a v) = h_a(v), of unchanged mass."""
    margins = torch.linspace(-3, 3, 301, dtype=torch.float64)
    for sharpness in (0.1, 1.0, 7.3):
        rescaled = sharpness * ArcTan(1.0)(sharpness * margins)
        torch.testing.assert_close(rescaled, ArcTan(sharpness)(margins), rtol=1e-13, atol=0)


def test_assg_settles_so_that_the_stated_mass_covers_the_mean_distance():
    """At rest D = 0 and a = w / |v|, so the mass of the surrogate within [-|v|, |v|] is twice half_mass."""
    half_mass, margin = 0.3, 0.25
    site = Site(Neuron(surrogate=Triangle(0.1)), 1)  # a surrogate that gives this margin no gradient at all
    current = torch.full((1, 1), 1 - margin, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(site(current).sum(), current)[0].item() == 0
    with ASSG(half_mass=half_mass).attach(site):
        for _ in range(300):
            spikes = site(current)
    slope = torch.autograd.grad(spikes.sum(), current)[0].item()
    sharpness = 2 * math.tan(math.pi * half_mass) / math.pi / (margin + 1e-4)
    assert slope == pytest.approx(sharpness / 2 / (1 + (math.pi / 2 * sharpness * margin) ** 2), rel=1e-6)
    assert 2 / math.pi * math.atan(math.pi / 2 * sharpness * margin) == pytest.approx(2 * half_mass, abs=1e-3)


@pytest.mark.parametrize("bad", [0.0, 0.5, -1.0, math.nan])
def test_assg_refuses_an_impossible_mass(bad):
    with pytest.raises(SpikeproofError, match="half_mass"):
        ASSG(half_mass=bad)


@pytest.mark.parametrize("bad", [{"momentum": 1.5}, {"momentum": -0.1}, {"relax": -1.0}, {"relax": math.nan}], ids=str)
def test_assg_refuses_an_impossible_average(bad):
    with pytest.raises(SpikeproofError, match=next(iter(bad))):
        ASSG(**bad)


def test_assg_needs_sites_and_plain_bptt_does_not():
    plain = nn.Linear(2, 2)
    with pytest.raises(SpikeproofError, match="sites"), ASSG().attach(plain):
        pass
    with BPTT().attach(plain) as attached:
        attached.keep(torch.tensor([0]))
        attached.hold(True)


def test_sources_nest_and_the_inner_one_counts(model, images):
    with BPTT(Sigmoid()).attach(model):
        outer = input_gradient(model, images)
        with BPTT(ArcTan()).attach(model):
            inner = input_gradient(model, images)
        assert torch.equal(input_gradient(model, images), outer)
    assert torch.equal(inner, input_gradient(new_model(ArcTan()), images))


def test_a_confident_networks_gradient_takes_the_way_back_at_full_size():
    """Else it would be of numbers below 1e-38, which a processor is slow with, and which have few digits."""
    torch.manual_seed(0)
    options = {"num_classes": 4, "image_size": 8, "in_channels": 1, "num_steps": 3, "neuron": Neuron(threshold=0.25)}
    model = create_model("conv", **options).eval()
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8) % 4
    seen = []
    first = next(iter(sites(model).values()))
    first.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))

    def loss(logits):
        return 2.0**-110 * cross_entropy(logits, labels, reduction="none")

    with crafting(model, Crafting(precision="fp32")) as craft:
        small, _ = craft.gradient(images, loss)
        plain, _ = craft.gradient(images, lambda logits: cross_entropy(logits, labels, reduction="none"))
    for gradient in seen:
        sizes = gradient.abs().flatten(1).amax(1)
        assert sizes.min() > 1e-6 and sizes.max() < 1e6
    assert torch.equal(seen[0], seen[1])
    torch.testing.assert_close(small * 2.0**110, plain)
    assert small.abs().max() > 0
