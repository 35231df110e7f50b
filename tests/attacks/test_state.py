"""A network that keeps a state is refused wherever a network is taken, in one sentence, and it costs little to see."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from foreign import Potential, Wrapped
from spikeproof import attacks
from spikeproof.attacks import fgsm, judge, pgd, refuse_state, transfer
from spikeproof.insight import describe_sites, landscape
from spikeproof.models import check_finite
from spikeproof.threat import L0, L1, L2, Events, Linf, Patch

DOORS = {name: function for name, function in vars(attacks).items() if hasattr(function, "norms")}
NEEDED = {"corruption": {"kind": "contrast", "severity": 3}}


class Faint(Wrapped):
    """A trace of the last batch's mean, which fades: of the same images twice it shows little."""

    trace = 0.0

    def forward(self, images):
        self.trace = 0.02 * self.trace + images.mean()
        return self.inner(images) + self.trace * torch.arange(10.0)


class Toggling(Wrapped):
    """Every second forward is another."""

    asked = 0

    def forward(self, images):
        self.asked += 1
        return self.inner(images) * (1 + self.asked % 2)


class Outside(Wrapped):
    """What it keeps lies in no module."""

    kept: list = []  # noqa: RUF012

    def forward(self, images):
        self.kept.append(0)
        return self.inner(images) + len(self.kept) * torch.arange(10.0)


BALLS = {"linf": Linf(0.1), "l2": L2(1.0), "l1": L1(3.0), "l0": L0(4), "patch": Patch(2), "events": Events(3)}


def asked_for(name, model, images, labels, **options):
    function = DOORS[name]
    ball = BALLS[(function.norms or ("linf",))[0]]
    return function(model, images, labels, ball, **NEEDED.get(name, {}), **options)


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_attack_refuses_a_state(model, batch, refuses, name):
    images, labels = batch[0][:8], batch[1][:8]
    options = {"substitutes": [model]} if name == "transfer" else {}
    with refuses("keeps its state", "Reset"):
        asked_for(name, Potential(model), images, labels, **options)


def test_there_are_doors():
    assert {"pgd", "fgsm", "apgd", "square", "spsa", "ddn", "transfer", "corruption"} < set(DOORS)


@pytest.mark.parametrize("kind", [Potential, Faint, Outside, Toggling])
def test_what_keeps_a_state(model, batch, refuses, kind):
    images, labels = batch
    for keep in ("best", "last"):
        with refuses("keeps its state"):
            pgd(kind(model), images, labels, Linf(0.1), steps=2, keep=keep)
    for take in (
        lambda network: judge(network, images),
        lambda network: landscape(network, images[:3], labels[:3], 0.1, points=3),
        lambda network: describe_sites(network, images[:3]),
        lambda network: transfer(model, images, labels, Linf(0.1), substitutes=[network]),
    ):
        with refuses("keeps its state"):
            take(kind(model))


def test_a_state_that_was_left_there_by_a_larger_batch(model, batch, refuses):
    images, labels = batch
    network = Potential(model)
    network(images)
    with refuses("keeps its state"):
        fgsm(network, images, labels, Linf(0.1))
    with refuses("keep nothing of one batch"):
        fgsm(network, images[:8], labels[:8], Linf(0.1))


def test_a_network_of_one_batch_size_is_none(model, batch):
    class Exported(Wrapped):
        def forward(self, images):
            return self.inner(images.reshape(60, 1, 8, 8))

    found = pgd(Exported(model), *batch, Linf(0.1), steps=2, keep="last")
    assert torch.equal(found.correct, pgd(model, *batch, Linf(0.1), steps=2, keep="last").correct)


@pytest.mark.thorough
def test_random_networks_and_compiled_ones_are_let_be(model, batch):
    class Drops(Wrapped):
        def forward(self, images):
            return self.inner(dropout(images, 0.3, training=True))

    class Loose(Wrapped):
        generator = torch.Generator()

        def forward(self, images):
            return self.inner(images + 0.1 * torch.randn(images.shape, generator=self.generator))

    compiled = torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), backend="eager")
    for network in (Drops(model), Loose(model), compiled):
        refuse_state(network, batch[0])
        fgsm(network, *batch, Linf(0.1))


def test_the_look_costs_four_forwards_of_two_images(model, batch):
    seen = []
    hook = model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    refuse_state(model, batch[0])
    hook.remove()
    assert seen == [2, 2, 2, 2]


def test_the_look_leaves_no_trace(model, batch):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, images = torch.get_rng_state(), batch[0].clone()
    refuse_state(model, batch[0])
    assert model.training and torch.equal(torch.get_rng_state(), state) and torch.equal(batch[0], images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    refuse_state(Potential(model), batch[0][:0])  # of no images there is nothing to see


@pytest.mark.parametrize("place", ["stem.weight", "body.0.norm.running_mean"])
def test_nan_behind_a_spike_is_refused_before_anything_is_measured(model, batch, refuses, place):
    """The logits stay finite: the neuron is silent."""
    spoilt = copy.deepcopy(model)
    spoilt.state_dict()[place].view(-1)[0] = math.nan
    assert spoilt(batch[0]).isfinite().all()
    for ask in (
        lambda: fgsm(spoilt, *batch, Linf(0.1)),
        lambda: judge(spoilt, batch[0]),
        lambda: describe_sites(spoilt, batch[0]),
    ):
        with refuses("NaN", place, "other weights"):
            ask()


def test_a_mask_of_infinities_is_no_fault(model):
    model.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    model.lazy = nn.LazyLinear(3)
    check_finite(model)
