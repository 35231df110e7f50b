"""SpikingJelly's networks, adapted, are their twins among ours: logits, every source's gradient, every record."""

import copy

import pytest
import torch
from jelly_twins import NEURONS, Unrolled, layers, with_gain
from networks import EVERY, STEPS, agree, awake, crafted, noisy
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import spikeproof as sp
from spikeproof.attacks import cross_entropy_of
from spikeproof.defenses.defense import Step
from spikeproof.interop import ForeignSite
from spikeproof.spiking import Hinge, probe, sites


def twins(name="IF", mode="m", network="conv"):
    """One of ours, its adapted twin, images and labels; float64, since a rounding would flip spikes."""
    ours, gain, make = NEURONS[name]
    model, images, labels = awake(network, ours)
    with_gain(model, gain)
    inner = layers(model, make, mode).double().eval()
    net = Unrolled(inner, STEPS) if mode == "m" else inner
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    return model, sp.adapt(net, num_steps=STEPS, mean=mean, std=std).double().eval(), images, labels


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("name", NEURONS)
def test_logits_are_the_library_s_to_the_bit_and_ours_to_rounding(name, mode):
    model, adapted, images, _ = twins(name, mode)
    found = adapted(images)
    functional.reset_net(adapted.net)
    frames = (images - adapted._mean) / adapted._std
    called = [adapted.net(frames) for _ in range(1 if mode == "m" else STEPS)]
    functional.reset_net(adapted.net)
    assert torch.equal(found, torch.stack(called).mean(0))
    agree(found, model(images))
    assert torch.equal(adapted(images[:3]), adapted(images[:3]))
    assert adapted.settled.runs.value == ("images" if mode == "m" else "steps")


@pytest.mark.sweep
@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)
def test_every_source_has_the_twin_s_gradient(source, name):
    model, adapted, images, labels = twins(name)
    expected, logits = crafted(model, images, labels, source=source)
    found, theirs = crafted(adapted, images, labels, source=source)
    assert torch.equal(theirs, logits)
    agree(found, expected)


@pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)
def test_the_same_called_step_by_step(source):
    model, adapted, images, labels = twins("LIF", "s")
    agree(crafted(adapted, images, labels, source=source)[0], crafted(model, images, labels, source=source)[0])


@pytest.mark.thorough
@pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)
def test_the_same_in_a_deep_network(source):
    model, adapted, images, labels = twins("LIF", network="vgg11")
    agree(crafted(adapted, images, labels, source=source)[0], crafted(model, images, labels, source=source)[0])


@pytest.mark.parametrize("source", [sp.ASSG(), sp.PDSG(), sp.HART(), sp.Mixed()], ids=lambda source: source.name)
def test_sources_remember_and_forget_samples_alike(source):
    model, adapted, images, labels = twins("LIF")
    found = []
    for network in (model, adapted):
        at, gradients, kept = images, [], torch.tensor([0, 2])
        with source.attach(network) as attached:
            for named in (labels, labels, labels[kept], labels[kept]):
                if len(named) < len(at):
                    attached.keep(kept)
                    at = at[kept]
                leaf = at.clone().requires_grad_()
                gradients.append(attached.gradient(network, leaf, cross_entropy_of(named))[0])
                at = (at + 0.02 * gradients[-1].sign()).clamp(0, 1)
        found.append(gradients)
    for ours, theirs in zip(*found, strict=True):
        agree(theirs, ours)


@pytest.mark.parametrize("name", ["IF", "LIF", "LIF soft detached"])
def test_probes_see_the_twin_s_margins(name):
    model, adapted, images, _ = twins(name)
    with probe(model, "moments", "margins", "rate", cost=Hinge(0.5)) as ours:
        model(images)
    with probe(adapted, "moments", "margins", "rate", cost=Hinge(0.5)) as theirs:
        adapted(images)
    assert len(ours) == len(theirs) > 2
    for expected, found in zip(ours.values(), theirs.values(), strict=True):
        assert (found.count, found.normed) == (expected.count, expected.normed)
        assert found.window == pytest.approx(expected.window, rel=1e-12)
        for part in ("total", "total_of_squares", "cost_total", "margins"):
            agree(getattr(found, part).detach(), getattr(expected, part).detach(), 1e-12)
        assert found.rate.item() == pytest.approx(expected.rate.item(), rel=1e-6)


@pytest.mark.parametrize(
    "defense",
    [sp.MPDSGR(eta=1.0), sp.MPDSGR(eta=1.0, width="spread"), sp.TGO(lambda_max=1.0, sigma=0.0, delta=0.5)],
    ids=lambda defense: f"{defense.label} {getattr(defense, 'width', '')}".strip(),
)
def test_penalties_are_the_twin_s(defense):
    values = []
    for network, images in ((found[i], found[2]) for found in [twins("LIF")] for i in (0, 1)):
        needs = defense.needs
        with probe(network, *(("moments",) if needs.moments else ()), cost=needs.cost) as record:
            logits = network(images)
        step = Step(model=network, clean=images, labels=logits.argmax(1), logits=logits, record=record, progress=0.5)
        penalty = defense.penalty(step)
        weights = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
        values.append((penalty, torch.autograd.grad(penalty, weights, allow_unused=True)))
    (ours, by_ours), (theirs, by_theirs) = values
    assert ours > 0
    agree(theirs.detach(), ours.detach(), 1e-12)
    assert sum(each is not None for each in by_ours) >= 2
    for expected, found in zip(by_ours, by_theirs, strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            agree(found, expected, 1e-12)


def test_windows_of_all_surrogates_with_a_twin():
    pairs = {
        sp.Sigmoid(4.0): surrogate.Sigmoid(4.0),
        sp.ArcTan(2.0): surrogate.ATan(2.0),
        sp.Triangle(0.5): surrogate.PiecewiseQuadratic(2.0),
        sp.SuperSpike(1.0): surrogate.SuperSpike(1.0),
    }
    for ours, theirs in pairs.items():
        net = nn.Sequential(layer.Flatten(), neuron.IFNode(surrogate_function=theirs))
        (site,) = sites(sp.adapt(net, num_steps=2)).values()
        assert site.window == pytest.approx(ours.window, rel=1e-9)


def test_noise_moves_spikes_and_is_drawn_again():
    _, adapted, images, _ = twins()
    with noisy(adapted, std=0.5):
        torch.manual_seed(0)
        once, again = adapted(images), adapted(images)
        torch.manual_seed(0)
        assert torch.equal(adapted(images), once)
        assert not torch.equal(once, again)
    assert torch.equal(adapted(images), adapted(images))


def test_nothing_is_left_behind():
    _, adapted, images, labels = twins("LIF")
    net = adapted.net
    before, keys = {name: id(module) for name, module in net.named_modules()}, list(net.state_dict())
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    adapted(images)
    adapted.train()
    for source in EVERY:
        crafted(adapted, images, labels, source=source)

    class FailsError(Exception):
        pass

    def fails(module, given):
        raise FailsError

    last = list(net.modules())[-1]
    for source in EVERY:
        handle = last.register_forward_pre_hook(fails)
        with pytest.raises(FailsError):
            crafted(adapted, images, labels, source=source)
        handle.remove()
    assert {name: id(module) for name, module in net.named_modules()} == before
    assert list(net.state_dict()) == keys
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()] == hooks
    assert all(module.training for module in adapted.modules())
    assert all(module.v == 0.0 for module in net.modules() if isinstance(module, neuron.BaseNode))
    assert all(site.override is None and site.request is None for site in sites(adapted).values())


def test_a_copy_is_another_network():
    model, adapted, images, labels = twins("LIF")
    before = adapted(images)
    again = copy.deepcopy(adapted)
    nn.init.zeros_(again.net.inner[0].weight)
    assert torch.equal(crafted(again, images, labels, source=sp.BPTT(sp.ArcTan()))[1], again(images).float())
    assert not torch.equal(again(images), before)
    assert torch.equal(adapted(images), before)
    agree(crafted(adapted, images, labels, source=sp.RGA())[0], crafted(model, images, labels, source=sp.RGA())[0])


def test_its_sites_bear_the_names_of_its_layers():
    _, adapted, images, _ = twins()
    adapted(images)
    assert all(isinstance(site, ForeignSite) for site in sites(adapted).values())
    for name in sites(adapted):
        assert isinstance(adapted.net.get_submodule(name), neuron.IFNode)


def test_what_is_the_library_s_own_is_not_changed(refuses):
    _, adapted, images, _ = twins()
    adapted(images)
    site = next(iter(sites(adapted).values()))
    with refuses("changes the decay", "SpikingJelly's own", "create_model"):
        site.decay = nn.Parameter(torch.ones(1, 1))
    with refuses("changes the neuron", "SpikingJelly's own"):
        site.neuron = site.neuron
    with refuses("reset", "not seen"), probe(adapted, "moments", after_reset=True):
        adapted(images)
