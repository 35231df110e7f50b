"""The compiled twin against the reference and the slow op. Each case compiles once, so there are few."""

import warnings

import pytest
import torch
from slow_fire import draw_case
from test_fire_reference import check

from spikeproof.gradients import Assg
from spikeproof.spiking import ArcTan, Neuron, Sigmoid, Site, probe
from spikeproof.spiking.ops import fused as fused_module
from spikeproof.spiking.ops import reference
from spikeproof.spiking.ops.fused import compiler_available, fused

fused_fire = fused(reference.fire)


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """These tests are about compiled code: without a compiler they would test the reference against itself."""
    assert compiler_available(torch.device("cpu")), "install g++: the fused kernels cannot be tested without it"


@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 11, 13)], ids=str)
def test_everything_asked_with_noise(shape):
    current, noise, cotangents = draw_case(shape, noisy=True, seed=6)
    check(fused_fire, current, Neuron(leak=0.9), cotangents, noise=noise, hinge_width=0.45)


def test_bfloat16_soft_reset():
    neuron = Neuron(reset="soft", threshold=0.7, surrogate=Sigmoid(3.0))
    current, _, cotangents = draw_case(dtype=torch.bfloat16, seed=4)
    check(fused_fire, current, neuron, cotangents, hinge_width=0.45)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_probed_fused_site_equals_a_reference_site(layout):
    neuron = Neuron(leak=0.9)
    seen = {}
    for kernels in ("reference", "fused"):
        torch.manual_seed(3)
        current = (torch.rand(3 * 2, 5, 3, 7) * 1.6 - 0.2).contiguous(memory_format=layout).requires_grad_()
        site = Site(neuron, num_steps=3, kernels=kernels)
        with probe(site, "moments", "rate", hinge_width=0.4) as record:
            spikes = site(current)
        mean, std = record[""].moments()
        loss = (
            (spikes * torch.randn(spikes.shape)).sum() + mean.sum() + (std * std).sum() + record[""].hinge_total.sum()
        )
        seen[kernels] = (spikes, mean, std, record[""].hinge_total, torch.autograd.grad(loss, current)[0])
    assert torch.equal(seen["fused"][0], seen["reference"][0])
    for ours, theirs in zip(seen["fused"][1:], seen["reference"][1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


def test_assg_on_a_fused_site_equals_a_reference_site():
    gradients, spikes = {}, {}
    for kernels in ("reference", "fused"):
        torch.manual_seed(5)
        site = Site(Neuron(surrogate=ArcTan(2.0)), num_steps=3, kernels=kernels)
        with Assg().attach(site):
            for _ in range(3):
                current = (torch.rand(3 * 7, 5) * 1.6 - 0.2).requires_grad_()
                spikes[kernels] = site(current)
                (gradients[kernels],) = torch.autograd.grad(spikes[kernels].sum(), current)
    assert torch.equal(spikes["fused"], spikes["reference"])
    torch.testing.assert_close(gradients["fused"], gradients["reference"], rtol=1e-5, atol=1e-5)


def test_without_a_compiler_the_reference_runs_with_one_warning(monkeypatch):
    monkeypatch.setattr(fused_module, "compiler_available", lambda device: False)
    fused_module._warn_once.cache_clear()
    site, current = Site(Neuron(), num_steps=3, kernels="fused"), torch.rand(6, 5)
    with pytest.warns(RuntimeWarning, match="No compiler"):
        first = site(current)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = site(current)
    fused_module._warn_once.cache_clear()
    expected = Site(Neuron(), num_steps=3)(current)
    assert torch.equal(first, expected) and torch.equal(second, expected)
