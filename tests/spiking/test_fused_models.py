"""Whole networks and gradient sources on fused sites, in float64: the same numbers as on reference sites."""

import copy

import pytest
import torch
from twin import NEURON, STEPS, assert_same, currents, freeze, new_site

from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model
from spikeproof.spiking import ArcTan, probe, sites


@pytest.fixture(scope="module", params=["vgg11", "wrn16"])
def network(request):
    """Its norms have seen data, and every site fires."""
    torch.manual_seed(0)
    options = {"num_classes": 5, "image_size": 8, "width": 0.06, "neuron": NEURON, "num_steps": STEPS}
    model = create_model(request.param, **options).double()
    with torch.no_grad():
        for site in sites(model).values():
            if site.norm is not None:
                site.norm.bias += 0.3  # alive to the last site
        for _ in range(30):
            model.train()(torch.rand(16, 3, 8, 8, dtype=torch.float64))
        with probe(model, "rate") as record:
            model(torch.rand(16, 3, 8, 8, dtype=torch.float64))
    assert sum(seen.rate > 0 for seen in record.values()) >= len(record) - 1
    return model


def twins(model):
    pair = {kernels: copy.deepcopy(model) for kernels in ("reference", "fused")}
    for kernels, twin in pair.items():
        for site in sites(twin).values():
            site.kernels = kernels
    return pair


def everything(model, *, training):
    """Logits, the gradients of a loss by images and parameters, and what the batch norms keep."""
    images = torch.rand(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = model.train(training)(images)
    leaves = {"images": images} | {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(logits.cumsum(1).square().sum(), list(leaves.values()))
    found = {"logits": logits.detach(), **dict(zip(leaves, gradients, strict=True))}
    return found | {f"{name} after": part for name, part in model.named_buffers()}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_fused_network_equals_its_reference_in_logits_and_every_gradient(network, training):
    seen = {kernels: everything(twin, training=training) for kernels, twin in twins(network).items()}
    assert seen["reference"]["images"].abs().max() > 0
    assert_same(seen["fused"], seen["reference"], tolerance=1e-9)


def test_a_frozen_fused_network_gives_the_same_image_gradient(network):
    """An attack's backward, which computes no parameter's gradient."""
    found = everything(freeze(twins(network)["fused"]), training=False)
    expected = everything(twins(network)["reference"], training=False)
    assert_same(found, {name: expected[name] for name in found}, tolerance=1e-9)


@pytest.mark.thorough
def test_bptt_with_another_surrogate_on_a_fused_site_equals_a_reference_site():
    gradients = {}
    for kernels in ("reference", "fused"):
        site = freeze(new_site(kernels, 5, with_norm=True, pool=2)).eval()
        leaf = currents((4, 5, 6, 2)).requires_grad_()
        (own,) = torch.autograd.grad(site(leaf).cumsum(0).sum(), leaf)
        with BPTT(ArcTan(3.0)).attach(site):
            spikes = site(leaf)
            (gradient,) = torch.autograd.grad(spikes.cumsum(0).sum(), leaf)
        assert not torch.allclose(own, gradient)
        gradients[kernels] = {"spikes": spikes.detach(), "gradient": gradient}
    assert_same(gradients["fused"], gradients["reference"])


def assg_gradients(kernels, shape, **options):
    """Of four forwards, the last two after half the samples left, and of one where the sharpness is held."""
    site, found = freeze(new_site(kernels, shape[1], **options)).eval(), {}
    kept = (torch.arange(shape[0]) % 3 != 1).nonzero().flatten()
    constant = options.get("constant", False)
    with ASSG().attach(site) as attached:
        for forward in range(5):
            leaf = currents(shape, constant=constant, seed=forward)
            if forward == 2:
                attached.keep(kept)
            if forward >= 2:
                leaf = leaf.unflatten(0, (-1, shape[0]))[:, kept].flatten(0, 1)
            attached.hold(forward == 4)
            spikes = site(leaf.requires_grad_())
            (found[f"{forward}"],) = torch.autograd.grad(spikes.cumsum(0).sum(), leaf)
            assert torch.equal(spikes, new_site("reference", shape[1], **options).eval()(leaf))
    return found


def test_assg_on_a_fused_site_equals_a_reference_site():
    options = {"with_norm": True, "pool": 2}
    found, expected = (assg_gradients(kernels, (5, 4, 6, 2), **options) for kernels in ("fused", "reference"))
    assert_same(found, expected)


@pytest.mark.thorough
def test_a_gradient_source_on_a_network_in_training_sees_the_batchs_statistics(network):
    """The override then gets the normalised current, and batch norm's own backward does the rest."""
    seen = {}
    for kernels, twin in twins(network).items():
        with BPTT(NEURON.surrogate).attach(twin):
            seen[kernels] = everything(twin, training=True)
    assert_same(seen["fused"], seen["reference"], tolerance=1e-9)
    assert_same(seen["fused"], everything(twins(network)["reference"], training=True), tolerance=1e-9)
