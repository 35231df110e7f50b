"""A source that cannot act on the network is found before the first attack, and the sentence names the trial."""

import pytest
import torch
from own_spikes import Fire
from torch import nn

from spikeproof.audit import audit
from spikeproof.gradients import SOURCES
from spikeproof.interop import adapt
from spikeproof.spiking import sites


class Barrier(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, inner):
        ctx.inner = inner
        return images.view_as(images)

    @staticmethod
    def backward(ctx, gradient):
        if any(site.override is not None for site in sites(ctx.inner).values()):
            raise RuntimeError("no such backward here")
        return gradient, None


class OwnBackwardOnly(nn.Module):
    """A network whose backward fails as soon as any source but its own is attached."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(Barrier.apply(images, self.inner))


@pytest.mark.parametrize("name", ["BPTT:triangle(2)", *(name for name in SOURCES if name != "BPTT")])
def test_every_source_is_tried_before_any_attack(name, tiny, digits, quick, attacked, refuses):
    config = quick(trials=("PGD-2", f"PGD-3@{name}"))
    with refuses(f"The trial PGD-3@{name} cannot run on this network", "no such backward here", "leave the trial out"):
        audit(OwnBackwardOnly(tiny), digits.test, config, show=False)
    assert attacked == []


def test_a_source_that_fails_on_a_substitute(tiny, digits, quick, attacked, refuses):
    config = quick(trials=("PGD-2",), transfer=("PGD-2", "PGD-2@PDSG"))
    with refuses("TRANSFER:PGD-2@PDSG", "cannot run on the substitute"):
        audit(tiny, digits.test, config, substitutes=[OwnBackwardOnly(tiny)], show=False)
    assert attacked == []


class Neurons(nn.Module):
    """Neurons of one's own over [T, N, ...]; ``output`` is what leaves them for their spikes."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, currents):
        potential, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            potential = 0.5 * potential + current
            spikes.append(Fire.apply(potential - 0.4))
            potential = potential * (1 - spikes[-1])
        return self.output(torch.stack(spikes))


def own_code(output):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), Neurons(output), nn.Linear(20, 10))
    torch.manual_seed(0)
    for part in (net[1], net[3]):
        nn.init.normal_(part.weight, std=0.3)

    def runs(inner, images):
        return inner[3](inner[2](inner[1](inner[0](images)).expand(3, -1, -1)))

    return adapt(net, num_steps=3, spikes=Fire, runs=runs)


def test_a_gain_that_needs_a_known_decay(digits, quick, attacked, refuses):
    config = quick(battery="paper-mpd-sgr", trials=(), samples=5)
    with refuses("The trial FGSM@RGA cannot run", "one known decay", "your code"):
        audit(own_code(lambda spikes: spikes), digits.test, config, show=False)
    assert attacked == []


@pytest.mark.parametrize("name", ["BPTR", "HART", "MIXED"])
def test_a_gain_that_needs_a_layer_s_spikes(name, digits, quick, attacked, refuses):
    adapted, config = own_code(lambda spikes: 0.5 * spikes), quick(trials=("PGD-2", f"PGD-2@{name}"), samples=5)
    with refuses(f"The trial PGD-2@{name} cannot run", "its output is not its spikes"):
        audit(adapted, digits.test, config, show=False)
    assert attacked == []
    found = audit(adapted, digits.test, quick(trials=("PGD-2", "PGD-2@PDSG"), samples=5), show=False)
    assert found.network.library == "your code"
