"""Every gradient source under every coding, and on the residual networks, against literal T copies with fixed draws."""

import cmath
import math

import pytest
import torch
from networks import agree, alike, crafted
from slow_networks import STEPS, awake, copies, literal
from slow_sources import SlowAssg, SlowBptr, SlowBptt, SlowHart, SlowPdsg, SlowRelu, SlowRga, triangle

from spikeproof.coding import RSC, SQE, Direct, Frequency, Poisson, SignedRate
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Mixed, ReluTransfer
from spikeproof.models.spiking_model import SpikingModel
from spikeproof.spiking import Neuron, sites

TWINS = {
    BPTT(): lambda: SlowBptt(triangle(1.0)),
    BPTR(): SlowBptr,
    RGA(): SlowRga,
    HART(width=0.5): lambda: SlowHart(0.5),
    PDSG(): SlowPdsg,
    ASSG(): SlowAssg,
    ReluTransfer(): SlowRelu,
}
CODINGS = [Frequency(), Frequency((4, 2, 3)), Poisson(), SQE(levels=3), RSC(sigma=0.2), SignedRate(mean=(0.4,))]
every_source = pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
every_coding = pytest.mark.parametrize("coding", CODINGS, ids=str)


def frames_of(coding, x):
    """The frames with their gradients by x written out; random numbers from where torch's generator stands."""
    if isinstance(coding, Frequency):
        return [low_pass(x, eps) for eps in coding.radii or (4, 3, 2)]
    if isinstance(coding, RSC):
        return [x + coding.sigma * normal for normal in torch.randn(STEPS, *x.shape)]
    if isinstance(coding, SignedRate):
        centred, levels = x.detach() - coding.mean[0], 1
    else:
        centred, levels = x.detach(), getattr(coding, "levels", 1)
    below = (centred.abs() * levels).floor()
    drawn = [below + (u < centred.abs() * levels - below) for u in torch.rand(STEPS, *x.shape)]
    return [centred.sign() * level / levels + (x - x.detach()) for level in drawn]


def low_pass(x, eps):
    """The modulus of W x W^T, with W the matrix that keeps the frequencies -r..r-1 of one axis."""
    size = x.shape[-1]
    kept = [k for k in range(-(size // 2), -(size // 2) + size) if -eps <= k < eps]
    waves = [
        [sum(cmath.exp(2j * math.pi * k * (a - b) / size) for k in kept) / size for b in range(size)]
        for a in range(size)
    ]
    w = torch.tensor(waves, dtype=torch.complex128)
    filtered = w @ x.to(torch.complex128) @ w.T
    return (filtered.real**2 + filtered.imag**2).sqrt()


def expected_of(model, images, labels, source, coding):
    torch.manual_seed(0)  # as an attack begins
    if isinstance(source, ReluTransfer) and coding.random:
        frames_of(coding, images)  # the spiking forward has the first draws, the ordinary network the second
    return literal(model, images, labels, TWINS[source](), lambda x: frames_of(coding, x))


@pytest.mark.sweep
@every_coding
@every_source
@pytest.mark.parametrize(
    ("name", "neuron"),
    [("conv", Neuron()), ("conv", Neuron(decay=0.5)), ("wrn16", Neuron()), ("resnet17", Neuron())],
    ids=lambda value: value if isinstance(value, str) else f"decay {value.decay}",
)
def test_gradient_is_that_of_t_literal_frames(name, neuron, source, coding):
    model, images, labels = awake(name, coding=coding, neuron=neuron)
    expected, logits = expected_of(model, images, labels, source, coding)
    found, seen = crafted(model, images, labels, source=source)
    agree(found, expected, 1e-11 if isinstance(coding, Frequency) else 2e-13)
    torch.manual_seed(0)
    own = model(images)
    assert torch.equal(seen, own.float())
    if not isinstance(source, ReluTransfer):
        agree(logits, own.detach(), 1e-12)


@every_coding
def test_a_mix_draws_for_every_source_anew(coding):
    model, images, labels = awake("conv", coding=coding)
    torch.manual_seed(0)
    parts = [literal(model, images, labels, rule, lambda x: frames_of(coding, x))[0] for rule in twins_of_the_mix()]
    agree(crafted(model, images, labels, source=Mixed())[0], sum(parts) / 2, 1e-11)


def twins_of_the_mix():
    return SlowBptt(triangle(1.0)), SlowHart(1.0)


@every_coding
@pytest.mark.parametrize("source", [BPTR(), RGA(), HART()], ids=lambda source: source.name)
def test_rate_gradients_still_run_one_copy(coding, source):
    model, images, labels = awake("conv", coding=coding)
    rows = []
    model.stem.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    crafted(model, images, labels, source=source)
    assert rows == [STEPS * len(images), len(images)]


def test_codings_point_where_no_other_does():
    """Had two codings the same gradient, agreeing with one would tell nothing."""
    found = []
    for coding in (Direct(), *CODINGS):
        model, images, labels = awake("conv")
        model.set_coding(coding)
        found.append(crafted(model, images, labels)[0])
    assert max(alike(a, b) for at, a in enumerate(found) for b in found[:at]) < 0.999


@pytest.mark.sweep
@every_source
@pytest.mark.parametrize("name", ["resnet17", "resnet18", "resnet19", "sew-resnet19"])
def test_on_residual_networks_too(name, source):
    model, images, labels = awake(name)
    assert isinstance(model, SpikingModel)
    expected, logits = literal(model, images, labels, TWINS[source](), copies)
    found, seen = crafted(model, images, labels, source=source)
    agree(found, expected, 2e-13)
    assert torch.equal(seen, model(images).float())
    if not isinstance(source, ReluTransfer):
        agree(logits, model(images).detach(), 1e-12)
    assert not any(site.collapsed or site.override for site in sites(model).values())
