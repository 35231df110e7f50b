"""The two lines: a network of another library is audited; one that was not adapted is refused before any number."""

import inspect

import pytest
from jelly_twins import NEURONS, layers

import spikeproof as sp
from digit_networks import STEPS, network
from spikeproof import attacks
from spikeproof.data import load_data
from spikeproof.insight import describe_sites
from spikeproof.threat import L0, L1, Events, Patch

DOORS = {name: function for name, function in vars(attacks).items() if hasattr(function, "norms")}
NEEDED = {"corruption": {"kind": "contrast", "severity": 3}}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=100)


@pytest.fixture
def net():
    """SpikingJelly's twin of a network that knows the digits; it is called step by step."""
    model = network("tiny")
    return layers(model, NEURONS["IF"][2], "s").eval()


@pytest.fixture
def adapted(net):
    own = network("tiny")
    return sp.adapt(net, num_steps=STEPS["tiny"], mean=own.mean.flatten().tolist(), std=own.std.flatten().tolist())


def ball(function):
    own = {"l1": L1(3.0), "l0": L0(4), "patch": Patch(2), "events": Events(4)}
    balls = {"linf": sp.Linf(0.1), "l2": sp.L2(1.0), **own}
    return balls[(function.norms or ("linf",))[0]]


def test_an_audit_is_that_of_the_twin(adapted, digits):
    config = sp.AuditConfig(
        eps=0.1, samples=10, battery=None, trials=("FGSM", "SA-PGD-4@ASSG"), tune_samples=0,
        sweep_samples=4,
    )  # fmt: skip
    found, expected = (sp.audit(each.double(), digits.test, config=config) for each in (adapted, network("tiny")))
    assert found.clean == expected.clean
    assert found.clean.accuracy > 0.7
    assert found.worst_case == expected.worst_case
    assert [flag.name for flag in found.flags] == [flag.name for flag in expected.flags]


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_attack_runs(adapted, digits, name):
    images, labels = digits.test.images[:6].float() / 255, digits.test.labels[:6]
    images = images.round() if name == "sda" else images  # it takes binary ones
    options = {"substitutes": [adapted]} if name == "transfer" else {}
    few = {"steps": 3, "queries": 20, "max_queries": 20, "restarts": 1, "search_steps": 1}
    options |= {key: few[key] for key in few if key in inspect.signature(DOORS[name]).parameters}
    attacked = DOORS[name](adapted, images, labels, ball(DOORS[name]), **NEEDED.get(name, {}), **options)
    assert attacked.images.shape == images.shape


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_attack_refuses_what_was_not_adapted(net, digits, refuses, name):
    images, labels = digits.test.images[:6].float() / 255, digits.test.labels[:6]
    options = {"substitutes": [net]} if name == "transfer" else {}
    with refuses("spikeproof.adapt(net, num_steps=T)"):
        DOORS[name](net, images, labels, ball(DOORS[name]), **NEEDED.get(name, {}), **options)


def test_an_audit_refuses_what_was_not_adapted(net, digits, refuses):
    with refuses("spikeproof.adapt(net, num_steps=T)"):
        sp.audit(net, digits.test, config=sp.AuditConfig(eps=0.1, samples=10))


def test_pictures_see_its_layers(adapted, digits):
    images = digits.test.images[:20].float() / 255
    found, expected = describe_sites(adapted, images), describe_sites(network("tiny"), images)
    assert [site.window for site in found] == pytest.approx([site.window for site in expected])
    assert [site.firing_rate for site in found] == pytest.approx([site.firing_rate for site in expected], abs=0.01)
