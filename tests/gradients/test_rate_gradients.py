"""BPTR and RGA: published gains, a slow literal form, the same gradient at every step, and one copy for T."""

import pytest
import torch

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.gradients import BPTR, BPTT, HART, RGA
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Site, sites


@pytest.mark.parametrize(
    ("decay", "current", "expected"),
    [
        (1.0, 0.5, 0.5),
        (1.0, 0.0, 0.7),
        (1.0, 2.1, 0.0),
        (1.0, -0.1, 0.0),
        (0.99, 0.0, 0.2),
        (0.99, 0.3, 0.501508),
        (0.9, 0.05, 0.2),
        (0.9, 1.0, 0.515789),
        (0.5, 0.3, 0.2),
        (0.5, 0.5, 0.8),
        (0.5, 1.0, 0.6),
    ],
)
def test_rga_s_gain_is_the_published_one(decay, current, expected):
    assert RGA().gain(Neuron(decay=decay), torch.tensor(current)).item() == pytest.approx(expected, abs=1e-6)


def test_rga_s_gain_scales_with_the_threshold():
    # The original for an integrate-and-fire neuron: 1[0 <= x <= 2 th] / (2 th).
    gain = RGA().gain(Neuron(threshold=0.5), torch.tensor([0.3, 0.99, 1.01]))
    torch.testing.assert_close(gain, torch.tensor([1.0, 1.0, 0.0]))


def test_bptr_passes_the_gradient_where_a_neuron_ever_fired():
    site = Site(Neuron(), num_steps=3)
    current = torch.tensor([[0.2, 0.6], [0.2, 0.6], [0.2, 0.6]], requires_grad=True)  # rates 0 and 1/3
    with BPTR().attach(site):
        spikes = site(current)
    (spikes * torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    torch.testing.assert_close(current.grad, torch.tensor([[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]]))
    assert torch.equal(spikes, Site(Neuron(), num_steps=3)(current))


def awake(name, kernels="reference"):
    """A float64 network whose every layer fires."""
    torch.manual_seed(0)
    size = 16 if name == "wrn16" else 32
    model = create_model(name, num_classes=4, width=0.1, num_steps=3, image_size=size, kernels=kernels).double()
    images = torch.rand(4, 3, size, size, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=3 / module.in_features**0.5)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.constant_(module.bias, 0.5)
    model.train()
    with torch.no_grad():
        model(images)
    return model.eval(), images, torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("source", [BPTR(), RGA(), HART(width=0.7)], ids=lambda source: source.name)
@pytest.mark.parametrize("name", ["vgg11", "wrn16"])
def test_one_copy_gives_the_gradient_of_t_copies(name, source):
    model, images, labels = awake(name)
    loss = torch.nn.functional.cross_entropy
    leaf = images.clone().requires_grad_()
    with source.attach(model):
        logits = model(leaf)  # every site and step differentiated
    (slow,) = torch.autograd.grad(loss(logits.float(), labels, reduction="sum"), leaf)  # float32, as attacks have it
    with crafting(model, Crafting(source=source)) as craft:
        fast, seen = craft.gradient(images, cross_entropy_of(labels))
    assert slow.abs().sum() > 0
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(seen, model(images).float(), rtol=0, atol=0)  # the forward is the spiking one, exactly
    assert not any(site.collapsed or site.override for site in sites(model).values())


def test_every_step_gets_the_same_gradient():
    model, images, labels = awake("vgg11")
    grads = []
    conv = [module for module in model.body if isinstance(module, torch.nn.Conv2d)][2]
    handle = conv.register_forward_hook(lambda module, given, out: out.register_hook(grads.append) and None)
    with RGA().attach(model):
        torch.nn.functional.cross_entropy(model(images.requires_grad_()), labels).backward()
    handle.remove()
    steps = grads[0].unflatten(0, (3, -1))
    assert steps.abs().sum() > 0
    assert torch.equal(steps[0], steps[1]) and torch.equal(steps[0], steps[2])


@pytest.mark.parametrize("source", [BPTR(), RGA(), HART(width=0.7)], ids=lambda source: source.name)
def test_rate_gradients_are_not_bptt_s(source):
    model, images, labels = awake("vgg11")
    gradients = []
    for how in (source, BPTT()):
        with crafting(model, Crafting(source=how)) as craft:
            gradients.append(craft.gradient(images, cross_entropy_of(labels))[0].flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) < 0.99


def test_an_exception_in_the_single_copy_leaves_no_trace():
    model, images, labels = awake("vgg11")
    calls = []

    def fail_in_the_second_forward(module, given):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError

    handle = model.body[3].register_forward_pre_hook(fail_in_the_second_forward)
    with pytest.raises(ZeroDivisionError), crafting(model, Crafting(source=RGA())) as craft:
        craft.gradient(images, cross_entropy_of(labels))
    handle.remove()
    assert not any(site.collapsed or site.override for site in sites(model).values())


@pytest.mark.thorough
def test_fused_sites_give_the_same():
    slow, images, labels = awake("wrn16")
    fast = awake("wrn16", kernels="fused")[0]
    found = []
    for model in (slow, fast):
        with crafting(model, Crafting(source=RGA())) as craft:
            found.append(craft.gradient(images, cross_entropy_of(labels))[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-14)
