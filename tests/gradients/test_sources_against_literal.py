"""Every gradient source against its slow, literal twin (``slow_sources.py``), and what all sources promise."""

import contextlib
import math

import pytest
import torch
from slow_sources import (
    Rule,
    SlowAssg,
    SlowBptr,
    SlowBptt,
    SlowHart,
    SlowPdsg,
    SlowRelu,
    SlowRga,
    arctan,
    exponential,
    gradient,
    gradient_by_copy,
    logistic,
    rectangle,
    straight_through,
    triangle,
)
from torch import nn

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.attacks.judge import judge
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Assg, Bptr, Bptt, Hart, Mixed, Pdsg, ReluTransfer, Rga
from spikeproof.models import create_model
from spikeproof.models.spiking_model import ModelDescription, SiteFactory, SpikingModel
from spikeproof.models.vgg import build_vgg
from spikeproof.spiking import (
    ArcTan,
    Exponential,
    Gaussian,
    Neuron,
    Rectangular,
    Sigmoid,
    StraightThrough,
    Triangle,
    inference_noise,
    sites,
)
from spikeproof.spiking.ops.noise import draw_tapes, standard_normals

STEPS = 3
# Of the largest entry of a gradient, in float64; 4e-15 was seen.
TIGHT = 5e-14

# Source by source, its literal twin. Mixed gradients are means of these.
TWINS = {
    Bptt(): lambda: SlowBptt(triangle(1.0)),
    Bptt(Triangle(0.4)): lambda: SlowBptt(triangle(0.4)),
    Bptt(Rectangular(2.0)): lambda: SlowBptt(rectangle(2.0)),
    Bptt(Sigmoid(4.0)): lambda: SlowBptt(logistic(4.0)),
    Bptt(ArcTan(2.0)): lambda: SlowBptt(arctan(2.0)),
    Bptt(Exponential()): lambda: SlowBptt(exponential(1.0, 1.0)),
    Bptt(Exponential(0.3, 2.0)): lambda: SlowBptt(exponential(0.3, 2.0)),
    Bptt(StraightThrough()): lambda: SlowBptt(straight_through),
    Bptr(): SlowBptr,
    Rga(): SlowRga,
    Rga(slope=0.5): lambda: SlowRga(0.5),
    Hart(): lambda: SlowHart(1.0),
    Hart(width=0.5): lambda: SlowHart(0.5),
    Pdsg(): SlowPdsg,
    Assg(): SlowAssg,
    ReluTransfer(): SlowRelu,
}
OF_RATES = [Bptr(), Rga(), Hart(), Hart(width=0.5)]
EVERY = [Bptt(), Bptt(StraightThrough()), *OF_RATES, Pdsg(), Assg(), ReluTransfer(), Mixed()]
every_source = pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)


def awake(name, neuron=None, dtype=torch.float64):
    """A network whose every layer fires, by batch norms of many scales and shifts; images it has not seen; labels."""
    torch.manual_seed(0)
    size, channels, width = {"conv": (8, 1, 0.3), "vgg11": (32, 3, 0.05), "wrn16": (16, 3, 0.1)}[name]
    options = {"num_steps": STEPS, "image_size": size, "in_channels": channels, "width": width}
    model = create_model(name, num_classes=4, neuron=neuron, **options).double()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=3 / module.in_features**0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, 0.5, 0.1)
            nn.init.uniform_(module.weight, 0.7, 1.3)
    seen, images = torch.rand(2, 4, channels, size, size, dtype=torch.float64)
    with torch.no_grad():
        model.train()(seen)
    return model.to(dtype).eval(), images.to(dtype), torch.tensor([0, 1, 2, 3])


def crafted(model, images, labels, **how):
    with crafting(model, Crafting(**how)) as craft:
        return craft.gradient(images, cross_entropy_of(labels))


def agree(found, expected, share=TIGHT):
    assert expected.dtype == torch.float64 and expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=share * expected.abs().max().item())


def alike(one, other):
    """The cosine of the angle between two gradients."""
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


# The twins themselves, against the published numbers.


@pytest.mark.parametrize(
    ("leak", "detach", "expected"),
    [
        (1.0, False, (0.524659, -0.11772, 1.028, 0.8)),
        (1.0, True, (1.5, 0.9, 1.1, 0.8)),
        (0.99, False, (0.537758, -0.098236, 1.023423, 0.803)),
        (0.99, True, (1.49694, 0.906, 1.09497, 0.803)),
        (0.5, False, (0.907336, 0.960425, 0.89125, 0.75)),
        (0.5, True, (1.26875, 1.3375, 1.075, 0.75)),
    ],
)
def test_the_slow_recurrence_has_the_published_gradient(leak, detach, expected):
    x = [torch.tensor([[value]], dtype=torch.float64, requires_grad=True) for value in (0.6, 0.5, 0.3, 0.9)]
    spikes = SlowBptt(triangle(1.0))(0, Neuron(leak=leak, detach_reset=detach), x, None)
    found = torch.autograd.grad(sum(spikes).sum(), x)
    assert [part.item() for part in found] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("leak", "current", "expected"),
    [(1.0, 0.5, 0.5), (1.0, 0.0, 0.7), (0.99, 0.3, 0.501508), (0.9, 0.05, 0.2), (0.9, 1.0, 0.515789), (0.5, 0.5, 0.8)]
    + [(leak, current, 0.0) for leak in (1.0, 0.5) for current in (2.1, -0.1)],
)
def test_the_slow_rga_has_the_published_gain(leak, current, expected):
    x = torch.full((2, 1, 1), current, dtype=torch.float64)
    assert SlowRga().gain(Neuron(leak=leak), x, None).item() == pytest.approx(expected, abs=1e-6)


# Sources against twins.


@pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
@pytest.mark.parametrize(
    ("name", "neuron"),
    [
        ("conv", Neuron()),
        ("conv", Neuron(leak=0.5)),
        ("conv", Neuron(leak=0.99, detach_reset=True)),
        ("conv", Neuron(threshold=0.6)),
        ("vgg11", Neuron()),
        ("vgg11", Neuron(leak=0.5)),
        ("vgg11", Neuron(leak=0.99)),
        ("wrn16", Neuron()),
        ("wrn16", Neuron(leak=0.5)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"leak {value.leak} threshold {value.threshold}",
)
def test_gradient_is_the_literal_one(name, neuron, source):
    model, images, labels = awake(name, neuron)
    rule: Rule = TWINS[source]()
    expected, logits = gradient(model, images, labels, rule)
    found, seen = crafted(model, images, labels, source=source)
    agree(found, expected)
    assert torch.equal(seen, model(images).float())
    if rule.spiking:
        agree(logits, model(images).detach())
    if source != Bptt():
        own, _ = gradient(model, images, labels, SlowBptt(triangle(1.0)))
        assert not torch.allclose(expected, own, rtol=1e-2, atol=1e-2 * own.abs().max().item())


def test_sources_point_where_no_other_does():
    """Had two twins the same gradient, agreeing with one would tell nothing."""
    model, images, labels = awake("vgg11", Neuron(leak=0.5))
    found = [gradient(model, images, labels, twin())[0] for twin in TWINS.values()]
    assert max(alike(a, b) for at, a in enumerate(found) for b in found[:at]) < 0.999


@pytest.mark.parametrize("name", ["conv", "vgg11"])
def test_bptt_and_hart_mixed_is_the_mean_of_both(name):
    model, images, labels = awake(name)
    parts = [gradient(model, images, labels, rule)[0] for rule in (SlowBptt(triangle(1.0)), SlowHart(1.0))]
    found, seen = crafted(model, images, labels, source=Mixed())
    agree(found, (parts[0] + parts[1]) / 2)
    assert torch.equal(seen, model(images).float())
    assert all(alike(found, part) < 0.999 for part in parts)


def test_three_sources_mixed_is_their_mean():
    model, images, labels = awake("conv")
    sources = (Rga(), Pdsg(), Bptt(Exponential()))
    expected = sum(gradient(model, images, labels, TWINS[source]())[0] for source in sources) / 3
    agree(crafted(model, images, labels, source=Mixed(sources))[0], expected)


def test_a_transfer_source_in_a_mix_keeps_the_loss_of_its_own_network():
    model, images, labels = awake("conv")
    sources = (Bptt(), ReluTransfer())
    expected = sum(gradient(model, images, labels, TWINS[source]())[0] for source in sources) / 2
    agree(crafted(model, images, labels, source=Mixed(sources))[0], expected)


@pytest.mark.parametrize("samples", [1, 3])
def test_pdsg_of_few_samples(samples):
    """Of one sample a linear layer has one potential at the first step, which is spread by nothing: s = 1."""
    model, images, labels = awake("conv")
    expected, _ = gradient(model, images[:samples], labels[:samples], SlowPdsg())
    agree(crafted(model, images[:samples], labels[:samples], source=Pdsg())[0], expected)


def test_pdsg_of_a_channel_that_never_moves():
    model, images, labels = awake("conv")
    norm = sites(model)["body.0"].norm
    nn.init.zeros_(norm.weight[:1])
    nn.init.constant_(norm.bias[:1], 0.25)
    expected, _ = gradient(model, images, labels, SlowPdsg())
    agree(crafted(model, images, labels, source=Pdsg())[0], expected)


@pytest.mark.parametrize("draws", [1, 3])
def test_assg_over_the_forwards_of_an_attack(draws):
    """The averages move once in each step of an attack, by its first forward, and go with the samples that are kept."""
    model, images, labels = awake("vgg11")
    rule, generator = SlowAssg(), torch.Generator().manual_seed(4)
    found = []
    with crafting(model, Crafting(source=Assg(), draws=draws)) as craft:
        for step in range(5):
            if step == 3:
                kept = torch.tensor([True, False, True, True])
                craft.keep(kept)
                images, labels = images[kept], labels[kept]
                rule.averages = {key: (m[kept], d[kept]) for key, (m, d) in rule.averages.items()}
            expected, _ = gradient(model, images, labels, rule)
            found.append(craft.gradient(images, cross_entropy_of(labels))[0])
            agree(found[-1], expected)
            moved = torch.rand(images.shape, generator=generator, dtype=images.dtype) - 0.5
            images = (images + 0.05 * moved).clamp(0, 1)
        afresh, _ = gradient(model, images, labels, SlowAssg())
        settled, _ = gradient(model, images, labels, rule)
    assert not torch.allclose(afresh, settled, rtol=1e-2, atol=1e-2 * settled.abs().max().item())


@pytest.mark.parametrize("source", OF_RATES, ids=lambda source: source.name)
@pytest.mark.parametrize("name", ["vgg11", "wrn16"])
def test_rates_give_every_step_the_same_gradient(name, source):
    """Literally, and at every layer of ours while all steps are differentiated."""
    model, images, labels = awake(name)
    by_copy, _ = gradient_by_copy(model, images, labels, TWINS[source]())
    assert by_copy[0].abs().max() > 0
    assert all(torch.equal(by_copy[0], copy) for copy in by_copy)
    for grads in layer_gradients(model, images, labels, source):
        assert grads.abs().max() > 0
        assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])


def test_bptt_does_not_give_every_step_the_same():
    model, images, labels = awake("vgg11")
    first, *others = gradient_by_copy(model, images, labels, SlowBptt(triangle(1.0)))[0]
    assert all(alike(first, other) < 0.999 for other in others)
    # The readout's logits are averaged, so the last of the layers has the same at every step.
    *grads, _ = layer_gradients(model, images, labels, Bptt())
    assert all(not torch.equal(layer[0], layer[1]) for layer in grads)


def layer_gradients(model, images, labels, source):
    """The gradient by the output of every layer behind a site, [T, N, ...], in order of the forward."""
    outputs = []
    layers = [module for module in model.body.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(lambda module, given, out: outputs.append(out)) for layer in layers]
    try:
        with source.attach(model):
            loss = torch.nn.functional.cross_entropy(model(images.clone().requires_grad_()), labels)
    finally:
        for handle in handles:
            handle.remove()
    assert len(outputs) == len(layers) > 8
    return [part.unflatten(0, (STEPS, -1)) for part in torch.autograd.grad(loss, outputs)]


# Noise.


@contextlib.contextmanager
def noisy(model, std=0.25):
    for site in sites(model).values():
        site.noise_std = std
    with inference_noise(model, True):
        yield


def drawn_noise(x):
    """The noise of one site in one forward, by the generator's state: 0.25 N(0, 1) for each step."""
    like = x[0].detach().movedim(1, -1)
    tapes = draw_tapes(len(x), like[None])
    return [(0.25 * standard_normals(tape, like)).to(like.dtype).movedim(-1, 1) for tape in tapes]


@pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
@pytest.mark.parametrize("draws", [1, 3])
def test_expectation_over_noise_is_the_mean_of_literal_gradients(draws, source):
    model, images, labels = awake("conv", Neuron(leak=0.5))
    rule, found_by_draw = TWINS[source](), []
    with noisy(model):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            for draw in range(draws):
                rule.held = draw > 0
                found_by_draw.append(gradient(model, images, labels, rule, drawn_noise)[0])
        found, _ = crafted(model, images, labels, source=source, draws=draws, seed=7)
    agree(found, sum(found_by_draw) / draws)
    if rule.spiking:
        quiet, _ = gradient(model, images, labels, TWINS[source]())
        assert all(alike(one, quiet) < 0.999 for one in found_by_draw)
        assert draws == 1 or alike(found_by_draw[0], found_by_draw[1]) < 0.999


def test_sources_of_a_mix_draw_noise_of_their_own():
    model, images, labels = awake("conv")
    parts = []
    with noisy(model):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            for _ in range(2):
                for rule in (SlowBptt(triangle(1.0)), SlowHart(1.0)):
                    parts.append(gradient(model, images, labels, rule, drawn_noise)[0])
        found, _ = crafted(model, images, labels, source=Mixed(), draws=2, seed=7)
    agree(found, sum(parts) / 4)


@every_source
def test_logits_of_a_noisy_model_are_the_mean_of_its_draws(source):
    model, images, labels = awake("conv")
    with noisy(model):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(7)
            forwards = 2 if source == Mixed() else 1  # each source of a mix draws; the first one's logits count
            own = [[model(images) for _ in range(forwards)][0] for _ in range(3)]
        assert not torch.equal(own[0], own[1])
        found = [crafted(model, images, labels, source=source, draws=3, seed=seed) for seed in (7, 7, 8)]
        by_one, _ = crafted(model, images, labels, source=source, draws=1, seed=7)
    assert torch.equal(found[0][1], sum(logits.float() / 3 for logits in own))
    assert all(torch.equal(*pair) for pair in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][1], found[2][1])
    assert found[0][0].abs().max() > 0
    if source != ReluTransfer():  # whose network has no neuron to be noisy
        assert alike(found[0][0], found[2][0]) < 0.999
        assert alike(found[0][0], by_one) < 0.999


# What every source promises.


@every_source
def test_logits_are_the_model_s_own(source):
    model, images, labels = awake("conv", dtype=torch.float32)
    with torch.no_grad():
        own = model(images)
    assert own.abs().max() > 0
    with crafting(model, Crafting(source=source)) as craft:
        for _ in range(2):  # the second with what a state the first one left
            found, logits = craft.gradient(images, cross_entropy_of(labels))
            assert torch.equal(logits, own) and found.abs().max() > 0
            assert torch.equal(craft.logits(images), own)
            assert torch.equal(craft.judge(images), judge(model, images))


def everything(model):
    """All of a model that an attack could leave changed."""
    with torch.no_grad():
        return {
            "sites": {name: dict(vars(site)) for name, site in sites(model).items()},
            "modes": [module.training for module in model.modules()],
            "wanted": [parameter.requires_grad for parameter in model.parameters()],
            "grads": [parameter.grad for parameter in model.parameters()],
            "weights": {name: part.tolist() for name, part in model.state_dict().items()},
            "rng": torch.get_rng_state().tolist(),
        }


@every_source
@pytest.mark.parametrize("fails_in", ["nothing", "the body", "forward 1", "forward 2", "the objective"])
def test_no_trace_is_left(source, fails_in):
    model, images, labels = awake("conv")
    model.body[0].train()
    model.stem.weight.requires_grad_(False)
    outer = Bptr() if source != Bptr() else Rga()
    calls = []

    def forward(module, given):
        calls.append(module)
        if fails_in == f"forward {len(calls)}":
            raise ZeroDivisionError

    def objective(logits):
        if fails_in == "the objective":
            raise ZeroDivisionError
        return cross_entropy_of(labels)(logits)

    handle = model.body[1].register_forward_pre_hook(forward)
    demanded = contextlib.nullcontext() if fails_in == "nothing" else pytest.raises(ZeroDivisionError)
    with noisy(model), outer.attach(model):  # a source inside another puts the other one's backward back
        before = everything(model)
        with demanded, crafting(model, Crafting(source=source, draws=2)) as craft:
            if fails_in == "the body":
                raise ZeroDivisionError
            craft.gradient(images, objective)
        assert everything(model) == before
        assert all(site.override is not None and not site.collapsed for site in sites(model).values())
    handle.remove()
    assert not any(site.override or site.collapsed or site.noise_at_inference for site in sites(model).values())
    found = [crafted(each, images, labels)[0] for each in (quiet(model), quiet(awake("conv")[0]))]
    assert torch.equal(*found)


def quiet(model):
    for site in sites(model).values():
        site.noise_std = 0.0
    return model


@pytest.mark.parametrize(
    "source", [source for source in EVERY if not isinstance(source, Bptt)], ids=lambda source: source.name
)
def test_a_model_without_sites_is_refused(source, refuses):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).train()
    with refuses("site", "BPTT"), crafting(plain, Crafting(source=source)):
        pass
    assert all(module.training for module in plain.modules())
    assert all(parameter.requires_grad for parameter in plain.parameters())


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_hart_refuses_an_impossible_width(bad, refuses):
    with refuses("HART", "width", bad):
        Hart(width=bad)


@pytest.mark.parametrize("few", [(), (Bptt(),)])
def test_a_mix_of_less_than_two_is_refused(few, refuses):
    with refuses("two"):
        Mixed(few)


# Fused kernels.


@pytest.mark.parametrize(
    ("source", "head"),
    [
        (Hart(width=0.7), (8,)),
        (Pdsg(), (8,)),
        (ReluTransfer(), (8,)),
        (Mixed(), ()),
        (Bptt(Triangle(0.4)), ()),
        (Bptt(Exponential()), ()),
        (Bptt(StraightThrough()), ()),
    ],
    ids=lambda value: f"head {len(value)}" if isinstance(value, tuple) else value.name,
)
def test_fused_kernels_give_the_same(source, head):
    """A pooled site whose current comes once, and with a head one of every step; each costs seconds of compilation."""
    labels, found = torch.tensor([0, 1, 2, 3, 0]), []
    images = torch.rand(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for kernels in ("reference", "fused"):
        found.append(crafted(small(head, kernels), images, labels, source=source))
    agree(found[1][0], found[0][0])
    assert torch.equal(found[1][1], found[0][1])
    assert alike(found[0][0], crafted(small(head), images, labels)[0]) < 0.999


def small(head, kernels="reference"):
    """A network of few sites, and so of few kernels."""
    torch.manual_seed(0)
    options = {"in_channels": 1, "image_size": 4, "num_classes": 4, "width": 1.0}
    stem, body = build_vgg((6, "A"), head, new_site=SiteFactory(Neuron(), STEPS, kernels), **options)
    coding = {"num_steps": STEPS, "mean": (0.5,), "std": (0.25,)}
    described = ModelDescription(name="small", neuron=Neuron(), **options, **coding)
    model = SpikingModel(stem, body, description=described, **coding).double().eval()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=3 / module.in_features**0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 0.5)
    return model


# The shapes that came with these sources.

MARGINS = [-3.0, -1.0, -0.31, 0.0, 0.2, 1.0, 2.5]


@pytest.mark.parametrize(
    ("surrogate", "formula"),
    [
        (Exponential(), lambda v: math.exp(-abs(v))),
        (Exponential(0.3, 0.5), lambda v: 0.3 * math.exp(-0.5 * abs(v))),
        (StraightThrough(), lambda v: 1.0),
        (Gaussian(), lambda v: math.exp(-(v**2) / 2) / math.sqrt(2 * math.pi)),
        (
            Gaussian(0.4, 0.2),
            lambda v: math.exp(-((v - 0.2) ** 2) / (2 * 0.4**2)) / (math.sqrt(2 * math.pi) * 0.4),
        ),
    ],
    ids=str,
)
def test_surrogate_s_value_is_its_formula(surrogate, formula):
    found = surrogate(torch.tensor(MARGINS, dtype=torch.float64))
    torch.testing.assert_close(found.tolist(), [formula(v) for v in MARGINS], rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("surrogate", "mass", "peak_at"),
    [
        (Gaussian(), 1.0, 0.0),
        (Gaussian(0.3), 1.0, 0.0),
        (Gaussian(2.0, 1.0), 1.0, 1.0),
        (Exponential(), 2.0, 0.0),
        (Exponential(0.3, 2.0), 0.3, 0.0),
    ],
    ids=str,
)
def test_mass_and_window(surrogate, mass, peak_at):
    half = torch.linspace(0, 60, 600_001, dtype=torch.float64)
    found = sum(torch.trapezoid(surrogate(peak_at + side * half), half) for side in (1, -1)).item()
    assert found == pytest.approx(mass, rel=2e-8)  # the trapezoid's error at the kink of an exponential
    peak = surrogate(torch.tensor(peak_at, dtype=torch.float64)).item()
    assert surrogate.window == pytest.approx(mass / peak, rel=1e-14)


def test_straight_through_has_no_end():
    assert StraightThrough().window == math.inf


def test_rescaled_unit_gaussian_is_the_one_of_that_spread():
    """The identity PDSG rests on: h_1(v/s) / s of a Gaussian at 1/2 is the Gaussian at s/2 of deviation s."""
    margins = torch.linspace(-3, 3, 301, dtype=torch.float64)
    for spread in (0.1, 1.0, 7.3):
        rescaled = Gaussian(1.0, 0.5)(margins / spread) / spread
        torch.testing.assert_close(rescaled, Gaussian(spread, 0.5 * spread)(margins), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "new", [lambda bad: Exponential(scale=bad), lambda bad: Exponential(decay=bad), lambda bad: Gaussian(sigma=bad)]
)
def test_impossible_shapes_are_refused(new, bad):
    with pytest.raises(SpikeproofError, match="give a positive number"):
        new(bad)
