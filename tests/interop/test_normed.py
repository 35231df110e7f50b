"""Which layers of another library are driven by a batch norm: what penalties on potentials take by default."""

import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.spiking import probe, sites

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import layer, neuron

CONV = {"kernel_size": 3, "padding": 1}


class Sum(nn.Module):
    """A batch norm's output plus what goes round it: no batch norm alone drives what follows."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, **CONV), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)) + x


class StepsLast(nn.Module):
    """Copies what it gets, in another order in memory."""

    def forward(self, x):
        return x.movedim(1, -1).contiguous().movedim(-1, 1)


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


MULTI = layer.SeqToANNContainer
KINDS = {
    "none": (False, "s", nn.Identity),
    "batch norm": (True, "s", lambda: nn.BatchNorm2d(4)),
    "of the library": (True, "s", lambda: layer.BatchNorm2d(4)),
    "over steps": (True, "m", lambda: layer.BatchNorm2d(4, step_mode="m")),
    "in a container": (True, "m", lambda: MULTI(nn.Conv2d(4, 4, **CONV), nn.BatchNorm2d(4))),
    "threshold dependent": (True, "m", lambda: layer.ThresholdDependentBatchNorm2d(1.0, 1.0, 4)),
    "then pooled": (True, "m", lambda: MULTI(nn.BatchNorm2d(4), nn.MaxPool2d(2))),
    "then averaged": (True, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.AvgPool2d(2))),
    "then dropped out": (True, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))),
    "then copied": (True, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), StepsLast())),
    "then flattened": (True, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Flatten(2))),
    "then a layer": (False, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, **CONV))),
    "then scaled": (False, "s", lambda: nn.Sequential(nn.BatchNorm2d(4), Twice())),
    "a sum": (False, "s", Sum),
}


def adapted(kind):
    _, mode, make = KINDS[kind]
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(1, 4, **CONV, step_mode=mode),
        make(),
        neuron.IFNode(step_mode=mode, v_threshold=0.05),
        layer.Flatten(step_mode=mode),
    )
    return sp.adapt(net, num_steps=2)


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_driven_by_a_batch_norm(kind, refuses):
    net, normed = adapted(kind), KINDS[kind][0]
    (site,) = sites(net).values()
    assert site.normed is None
    sp.MPDSGR().install(net)  # no forward has shown it yet
    with probe(net, "moments") as record:
        net(torch.rand(3, 1, 8, 8))
    (site,) = sites(net).values()
    (seen,) = record.values()
    assert site.normed is normed
    assert seen.normed is normed
    if normed:
        sp.MPDSGR().install(net)
    else:
        with refuses("MPD-SGR", "sites that have a batch norm", "sites='all'"):
            sp.MPDSGR().install(net)
        sp.MPDSGR(sites="all").install(net)
