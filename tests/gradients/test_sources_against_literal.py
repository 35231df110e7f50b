"""Every gradient source against its slow, literal twin (``slow_sources.py``), and what all sources promise."""

import pytest
import torch
from networks import OF_RATES, STEPS, agree, alike, awake, crafted, every_source, noisy
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
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Mixed, ReluTransfer
from spikeproof.spiking import (
    ArcTan,
    Exponential,
    Neuron,
    Rectangular,
    Sigmoid,
    StraightThrough,
    Triangle,
    sites,
)
from spikeproof.spiking.ops.noise import draw_tapes, standard_normals

# Source by source, its literal twin. Mixed gradients are means of these.
TWINS = {
    BPTT(): lambda: SlowBptt(triangle(1.0)),
    BPTT(Triangle(0.4)): lambda: SlowBptt(triangle(0.4)),
    BPTT(Rectangular(2.0)): lambda: SlowBptt(rectangle(2.0)),
    BPTT(Sigmoid(4.0)): lambda: SlowBptt(logistic(4.0)),
    BPTT(ArcTan(2.0)): lambda: SlowBptt(arctan(2.0)),
    BPTT(Exponential()): lambda: SlowBptt(exponential(1.0, 1.0)),
    BPTT(Exponential(0.3, 2.0)): lambda: SlowBptt(exponential(0.3, 2.0)),
    BPTT(StraightThrough()): lambda: SlowBptt(straight_through),
    BPTR(): SlowBptr,
    RGA(): SlowRga,
    RGA(slope=0.5): lambda: SlowRga(0.5),
    HART(): lambda: SlowHart(1.0),
    HART(width=0.5): lambda: SlowHart(0.5),
    PDSG(): SlowPdsg,
    ASSG(): SlowAssg,
    ReluTransfer(): SlowRelu,
}


# The twins themselves, against the published numbers.


@pytest.mark.parametrize(
    ("decay", "detach", "expected"),
    [
        (1.0, False, (0.524659, -0.11772, 1.028, 0.8)),
        (1.0, True, (1.5, 0.9, 1.1, 0.8)),
        (0.99, False, (0.537758, -0.098236, 1.023423, 0.803)),
        (0.99, True, (1.49694, 0.906, 1.09497, 0.803)),
        (0.5, False, (0.907336, 0.960425, 0.89125, 0.75)),
        (0.5, True, (1.26875, 1.3375, 1.075, 0.75)),
    ],
)
def test_the_slow_recurrence_has_the_published_gradient(decay, detach, expected):
    x = [torch.tensor([[value]], dtype=torch.float64, requires_grad=True) for value in (0.6, 0.5, 0.3, 0.9)]
    spikes = SlowBptt(triangle(1.0))(0, Neuron(decay=decay, detach_reset=detach), x, None)
    found = torch.autograd.grad(sum(spikes).sum(), x)
    assert [part.item() for part in found] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("decay", "current", "expected"),
    [(1.0, 0.5, 0.5), (1.0, 0.0, 0.7), (0.99, 0.3, 0.501508), (0.9, 0.05, 0.2), (0.9, 1.0, 0.515789), (0.5, 0.5, 0.8)]
    + [(decay, current, 0.0) for decay in (1.0, 0.5) for current in (2.1, -0.1)],
)
def test_the_slow_rga_has_the_published_gain(decay, current, expected):
    x = torch.full((2, 1, 1), current, dtype=torch.float64)
    assert SlowRga().gain(Neuron(decay=decay), x, None).item() == pytest.approx(expected, abs=1e-6)


# Sources against twins.


@pytest.mark.sweep
@pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
@pytest.mark.parametrize(
    ("name", "neuron"),
    [
        ("conv", Neuron()),
        ("conv", Neuron(decay=0.5)),
        ("conv", Neuron(decay=0.99, detach_reset=True)),
        ("conv", Neuron(threshold=0.6)),
        ("vgg11", Neuron()),
        ("vgg11", Neuron(decay=0.5)),
        ("vgg11", Neuron(decay=0.99)),
        ("wrn16", Neuron()),
        ("wrn16", Neuron(decay=0.5)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"decay {value.decay} threshold {value.threshold}",
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
    if source != BPTT():
        own, _ = gradient(model, images, labels, SlowBptt(triangle(1.0)))
        assert not torch.allclose(expected, own, rtol=1e-2, atol=1e-2 * own.abs().max().item())


def test_sources_point_where_no_other_does():
    """Had two twins the same gradient, agreeing with one would tell nothing."""
    model, images, labels = awake("vgg11", Neuron(decay=0.5))
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
    sources = (RGA(), PDSG(), BPTT(Exponential()))
    expected = sum(gradient(model, images, labels, TWINS[source]())[0] for source in sources) / 3
    agree(crafted(model, images, labels, source=Mixed(sources))[0], expected)


def test_a_transfer_source_in_a_mix_keeps_the_loss_of_its_own_network():
    model, images, labels = awake("conv")
    sources = (BPTT(), ReluTransfer())
    expected = sum(gradient(model, images, labels, TWINS[source]())[0] for source in sources) / 2
    agree(crafted(model, images, labels, source=Mixed(sources))[0], expected)


@pytest.mark.parametrize("samples", [1, 3])
def test_pdsg_of_few_samples(samples):
    """Of one sample a linear layer has one potential at the first step, which is spread by nothing: s = 1."""
    model, images, labels = awake("conv")
    expected, _ = gradient(model, images[:samples], labels[:samples], SlowPdsg())
    agree(crafted(model, images[:samples], labels[:samples], source=PDSG())[0], expected)


def test_pdsg_of_a_channel_that_never_moves():
    model, images, labels = awake("conv")
    norm = sites(model)["body.0"].norm
    nn.init.zeros_(norm.weight[:1])
    nn.init.constant_(norm.bias[:1], 0.25)
    expected, _ = gradient(model, images, labels, SlowPdsg())
    agree(crafted(model, images, labels, source=PDSG())[0], expected)


@pytest.mark.parametrize("draws", [1, 3])
def test_assg_over_the_forwards_of_an_attack(draws):
    """The averages move once in each step of an attack, by its first forward, and go with the samples that are kept."""
    model, images, labels = awake("vgg11")
    rule, generator = SlowAssg(), torch.Generator().manual_seed(4)
    found = []
    with crafting(model, Crafting(source=ASSG(), eot_iter=draws)) as craft:
        for step in range(5):
            if step == 3:
                kept = torch.tensor([0, 2, 3])
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
    *grads, _ = layer_gradients(model, images, labels, BPTT())
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


def drawn_noise(x):
    """The noise of one site in one forward, by the generator's state: 0.25 N(0, 1) for each step."""
    like = x[0].detach().movedim(1, -1)
    tapes = draw_tapes(len(x), like[None])
    return [(0.25 * standard_normals(tape, like)).to(like.dtype).movedim(-1, 1) for tape in tapes]


@pytest.mark.sweep
@pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
@pytest.mark.parametrize("draws", [1, 3])
def test_expectation_over_noise_is_the_mean_of_literal_gradients(draws, source):
    model, images, labels = awake("conv", Neuron(decay=0.5))
    rule, found_by_draw = TWINS[source](), []
    with noisy(model):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            for draw in range(draws):
                rule.held = draw > 0
                found_by_draw.append(gradient(model, images, labels, rule, drawn_noise)[0])
        found, _ = crafted(model, images, labels, source=source, eot_iter=draws, seed=7)
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
        found, _ = crafted(model, images, labels, source=Mixed(), eot_iter=2, seed=7)
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
        found = [crafted(model, images, labels, source=source, eot_iter=3, seed=seed) for seed in (7, 7, 8)]
        by_one, _ = crafted(model, images, labels, source=source, eot_iter=1, seed=7)
    assert torch.equal(found[0][1], sum(logits.float() / 3 for logits in own))
    assert all(torch.equal(*pair) for pair in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][1], found[2][1])
    assert found[0][0].abs().max() > 0
    if source != ReluTransfer():  # whose network has no neuron to be noisy
        assert alike(found[0][0], found[2][0]) < 0.999
        assert alike(found[0][0], by_one) < 0.999
