"""Every gradient source on networks with each kind of batch norm: literal T copies, own logits, both kernels."""

import pytest
import torch
from networks import EVERY, agree, alike, crafted
from slow_networks import STEPS, SlowMeanSlope, awake, copies, literal
from slow_sources import (
    SlowAssg,
    SlowBptr,
    SlowBptt,
    SlowHart,
    SlowPdsg,
    SlowRelu,
    SlowRga,
    straight_through,
    triangle,
)

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.coding import Poisson
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Mixed, ReluTransfer
from spikeproof.spiking import Neuron, StraightThrough, sites

TWINS = {
    BPTT(): lambda: SlowBptt(triangle(1.0)),
    BPTT(StraightThrough()): lambda: SlowBptt(straight_through),
    BPTR(): SlowBptr,
    RGA(): SlowRga,
    HART(): lambda: SlowMeanSlope(triangle(1.0)),
    HART(width=0.5): lambda: SlowMeanSlope(triangle(0.5)),
    PDSG(): SlowPdsg,
    ASSG(): SlowAssg,
    ReluTransfer(): SlowRelu,
}
NETWORKS = ["conv", "wrn16", "resnet17", "resnet18", "sew-resnet19"]
RATES = [BPTR(), RGA(), HART()]
every_twin = pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
every_source = pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)


@pytest.mark.sweep
@every_twin
@pytest.mark.parametrize(
    ("name", "neuron"),
    [(name, Neuron()) for name in NETWORKS] + [("conv", Neuron(decay=0.5))],
    ids=lambda value: value if isinstance(value, str) else f"decay {value.decay}",
)
def test_gradient_by_norms_of_each_step_is_the_literal_one(name, neuron, source):
    model, images, labels = awake(name, batch_norm="per-step", neuron=neuron)
    rule = TWINS[source]()
    expected, logits = literal(model, images, labels, rule, copies)
    found, seen = crafted(model, images, labels, source=source)
    agree(found, expected, 5e-13)
    assert torch.equal(seen, model(images).float())
    if rule.spiking:
        agree(logits, model(images).detach(), 1e-12)
    assert not any(site.collapsed or site.override for site in sites(model).values())


def test_hart_s_mean_over_steps_is_not_the_original_s_here():
    """The original averages the gradients of the steps too, which differ behind norms of each step."""
    model, images, labels = awake("conv", batch_norm="per-step")
    ours, original = (literal(model, images, labels, rule, copies)[0] for rule in (TWINS[HART()](), SlowHart(1.0)))
    assert 0.5 < alike(ours, original) < 1 - 1e-6
    merged, images, labels = awake("conv")
    ours, original = (literal(merged, images, labels, rule, copies)[0] for rule in (TWINS[HART()](), SlowHart(1.0)))
    agree(ours, original)


@pytest.mark.sweep
@every_source
@pytest.mark.parametrize("batch_norm", ["merged", "td", "per-step"])
@pytest.mark.parametrize("name", ["conv", "resnet17"])
def test_logits_are_the_model_s_own(name, batch_norm, source):
    model, images, labels = awake(name, batch_norm=batch_norm)
    model, images = model.float(), images.float()
    own = model(images).detach()
    with crafting(model, Crafting(source=source)) as craft:
        for _ in range(2):  # the second with what a state the first one left
            found, logits = craft.gradient(images, cross_entropy_of(labels))
            assert torch.equal(logits, own) and found.isfinite().all() and found.any()
            assert torch.equal(craft.judge(images), own)


@pytest.mark.parametrize("source", RATES, ids=lambda source: source.name)
@pytest.mark.parametrize(("batch_norm", "one_copy"), [("merged", True), ("td", True), ("per-step", False)])
@pytest.mark.parametrize("name", ["conv", "resnet17"])
def test_one_copy_runs_only_where_the_steps_are_alike(name, batch_norm, one_copy, source):
    model, images, labels = awake(name, batch_norm=batch_norm)
    rows = []
    next(iter(sites(model).values())).register_forward_hook(lambda module, given, out: rows.append(len(out)))
    crafted(model, images, labels, source=source)
    assert rows == [STEPS * len(images)] + [len(images)] * one_copy
    assert any(site.steps_differ for site in sites(model).values()) != one_copy


def test_norms_of_each_step_go_with_frames_of_each_step():
    model, images, labels = awake("resnet17", batch_norm="per-step", coding=Poisson())
    for source, rule in ((BPTT(), SlowBptt(triangle(1.0))), (RGA(), SlowRga())):

        def frames(x):
            return [(x.detach() >= u).double() + (x - x.detach()) for u in torch.rand(STEPS, *x.shape)]

        torch.manual_seed(0)
        expected, _ = literal(model, images, labels, rule, frames)
        agree(crafted(model, images, labels, source=source)[0], expected, 5e-13)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "source"),
    [("sew-resnet19", each) for each in (BPTT(), *RATES, PDSG(), ASSG(), ReluTransfer(), Mixed())] + [("conv", RGA())],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_fused_kernels_give_the_same(name, source):
    """A network without pooled sites needs the fewest kernels; one with them for one source."""
    found = []
    for kernels in ("reference", "fused"):
        model, images, labels = awake(name, batch_norm="per-step", kernels=kernels)
        found.append(crafted(model, images, labels, source=source))
    agree(found[1][0], found[0][0], 1e-12)
    torch.testing.assert_close(found[1][1], found[0][1])
