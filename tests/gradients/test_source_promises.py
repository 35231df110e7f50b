"""What all gradient sources promise: own logits, no trace, one result on both kernels; and the attacks' surrogates."""

import contextlib
import inspect
import math

import pytest
import torch
from networks import EVERY, STEPS, agree, alike, awake, crafted, every_source, noisy
from torch import nn

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.attacks.judge import judge
from spikeproof.coding import Direct
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTR, BPTT, HART, PDSG, RGA, Around, Mixed, ReluTransfer
from spikeproof.models.spiking_model import ModelDescription, SiteFactory, SpikingModel
from spikeproof.models.vgg import build_vgg
from spikeproof.spiking import (
    Exponential,
    Gaussian,
    Neuron,
    StraightThrough,
    Triangle,
    sites,
)


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


@pytest.mark.sweep
@every_source
@pytest.mark.parametrize("fails_in", ["nothing", "the body", "forward 1", "forward 2", "the objective"])
def test_no_trace_is_left(source, fails_in):
    model, images, labels = awake("conv")
    model.body[0].train()
    model.stem.weight.requires_grad_(False)
    outer = BPTR() if source != BPTR() else RGA()
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
        with demanded, crafting(model, Crafting(source=source, eot_iter=2)) as craft:
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
    "source", [source for source in EVERY if not isinstance(source, BPTT | Around)], ids=lambda source: source.name
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
        HART(width=bad)


@pytest.mark.parametrize("few", [(), (BPTT(),)])
def test_a_mix_of_less_than_two_is_refused(few, refuses):
    with refuses("two"):
        Mixed(few)


# Fused kernels.


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("source", "head"),
    [
        (HART(width=0.7), (8,)),
        (PDSG(), (8,)),
        (ReluTransfer(), (8,)),
        (Mixed(), ()),
        (BPTT(Triangle(0.4)), ()),
        (BPTT(Exponential()), ()),
        (BPTT(StraightThrough()), ()),
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
    described = ModelDescription(
        name="small", neuron=Neuron(), coding=Direct(), batch_norm="merged", **options, **coding
    )
    model = SpikingModel(stem, body, description=described).double().eval()
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
    ids=lambda part: "" if inspect.isfunction(part) else str(part),
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
