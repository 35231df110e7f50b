"""Gradient sources on a network whose sites learned a gain a step and a decay (DLIF), against literal twins."""

import pytest
import torch
from networks import agree, alike, awake, crafted
from slow_sources import Network, SlowBptr, SlowBptt, SlowHart, SlowRga, triangle
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from spikeproof.defenses.dlif import DLIF
from spikeproof.gradients import BPTR, BPTT, HART, RGA
from spikeproof.spiking import Neuron, sites


class WithGains(Network):
    """The slow network whose neurons integrate p[t] I[t]."""

    def spikes(self, site, x):
        norm = site.norm
        if norm is not None:
            deviation = (norm.running_var + norm.eps).sqrt()
            parts = (norm.running_mean, deviation, norm.weight, norm.bias)
            mean, deviation, weight, bias = (part.detach().view(-1, 1, 1) for part in parts)
            x = [(step - mean) / deviation * weight + bias for step in x]
        gains = site.gain.detach()
        x = [gains[t].item() * x[t] for t in range(len(x))]
        fired = self.rule(self.layer, site.neuron, x, None)
        self.layer += 1
        return fired if site.pool == 1 else [avg_pool2d(step, site.pool) for step in fired]


class SlowHartByStep(SlowHart):
    """What ours computes where steps differ: dL/dI_t = dL/ds_t * mean_s h(v_s), no average of the left factor."""

    def __call__(self, layer, neuron, x, noise):
        with torch.no_grad():
            m, spikes, slopes = torch.zeros_like(x[0]), [], []
            for step in x:
                u = neuron.decay * m + step
                s = (u - neuron.threshold >= 0).to(u.dtype)
                slopes.append(self.h(u - neuron.threshold))
                m = (1 - s) * u
                spikes.append(s)
            mean = sum(slopes) / len(slopes)
        return [s + (step - step.detach()) * mean for s, step in zip(spikes, x, strict=True)]


def gradient(model, images, labels, rule):
    copies = [images.detach().clone().requires_grad_() for _ in range(model.num_steps)]
    network = WithGains(rule)
    z = network(model.body, network(model.stem, [(copy - model.mean) / model.std for copy in copies]))
    logits = sum(z) / len(z)
    found = torch.autograd.grad(cross_entropy(logits.float(), labels, reduction="sum"), copies)
    return sum(found), logits.detach()


def with_gains(name, *, differ=True, decay=0.9):
    """A network after some DLIF training, whose every layer fires."""
    model, images, labels = awake(name, Neuron(decay=0.5))
    DLIF(decay=decay).install(model)
    torch.manual_seed(1)
    for site in sites(model).values():
        nn.init.uniform_(site.gain, 0.7, 1.3)
        if not differ:
            nn.init.constant_(site.gain, site.gain[0].item())
    return model, images, labels


TWINS = {
    BPTT(): lambda: SlowBptt(triangle(1.0)),
    BPTR(): SlowBptr,
    RGA(): SlowRga,
    HART(): lambda: SlowHartByStep(1.0),
    HART(width=0.5): lambda: SlowHartByStep(0.5),
}


@pytest.mark.sweep
@pytest.mark.parametrize("source", TWINS, ids=lambda source: source.name)
@pytest.mark.parametrize("name", ["conv", "vgg11", "wrn16"])
def test_gradient_is_the_literal_one(name, source):
    model, images, labels = with_gains(name)
    expected, logits = gradient(model, images, labels, TWINS[source]())
    found, _ = crafted(model, images, labels, source=source)
    agree(logits, model(images).detach())
    agree(found, expected)
    # The gains matter: without them it points elsewhere.
    for site in sites(model).values():
        nn.init.ones_(site.gain)
    assert alike(found, crafted(model, images, labels, source=source)[0]) < 0.999


@pytest.mark.parametrize("decay", [0.5, 0.99])
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_hart_with_gains_that_are_the_same_at_every_step_is_the_papers(width, decay):
    """Then every step has the same gradient by its spikes, and the average of the products is that of the slopes."""
    model, images, labels = with_gains("vgg11", differ=False, decay=decay)
    agree(
        crafted(model, images, labels, source=HART(width=width))[0], gradient(model, images, labels, SlowHart(width))[0]
    )


def test_hart_with_gains_that_differ_is_near_the_papers():
    """There the paper averages products of two factors that vary by step, and ours averages one of them."""
    for name in ("conv", "vgg11", "wrn16"):
        model, images, labels = with_gains(name)
        found, _ = crafted(model, images, labels, source=HART())
        expected, _ = gradient(model, images, labels, SlowHart(1.0))
        assert 0.9 < alike(found, expected) < 1 - 1e-9
