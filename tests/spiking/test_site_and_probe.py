"""The site's shapes and the probe's promise: exactly what was asked, and nothing left behind."""

import itertools

import pytest
import torch
from slow_fire import slow_fire
from torch import nn

from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model
from spikeproof.spiking import Hinge, Neuron, Sigmoid, Site, override_gradient, probe, sites


@pytest.fixture
def model():
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)  # low, so that an untrained network fires at every site
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, neuron=neuron).eval()


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_merged_maps_are_the_neurons_one_by_one(layout):
    steps, samples, channels, height, width = 3, 2, 5, 3, 2
    torch.manual_seed(4)
    maps = torch.rand(steps * samples, channels, height, width).contiguous(memory_format=layout)
    maps = maps.requires_grad_()
    neuron = Neuron(decay=0.9)
    weights = torch.randn(maps.shape)
    site = Site(neuron, steps)
    with probe(site, "margins", "moments") as record:
        spikes = site(maps)
    assert spikes.shape == maps.shape
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), maps)

    def by_neuron(merged):  # sample n of step t sits at row t * N + n
        return torch.stack(
            [
                torch.stack([merged[t * samples + n].flatten(1).T for n in range(samples)]).flatten(0, 1)
                for t in range(steps)
            ]
        )

    nothing = torch.zeros(steps, channels)
    expected = slow_fire(by_neuron(maps.detach()), neuron, (by_neuron(weights), nothing, nothing, nothing))
    assert torch.equal(by_neuron(spikes.detach()).double(), expected["spikes"])
    torch.testing.assert_close(by_neuron(gradient).double(), expected["gradient"], rtol=1e-5, atol=1e-6)
    seen = record[""]
    assert seen.margins.shape == (steps, samples, channels, height, width)
    torch.testing.assert_close(by_neuron(seen.margins.flatten(0, 1)), expected["margins"].float())
    assert seen.count == samples * height * width
    torch.testing.assert_close(seen.total, expected["total"].float())
    torch.testing.assert_close(seen.total_of_squares, expected["squares"].float())


def test_no_state_from_call_to_call():
    site = Site(Neuron(), 4)
    current = torch.full((4, 3), 0.4)
    first = site(current)
    site(torch.full((8, 2), 0.9))
    assert torch.equal(site(current), first)


def test_moments_are_mean_and_standard_deviation():
    torch.manual_seed(0)
    site = Site(Neuron(), 2)
    with probe(site, "moments", "margins") as record:
        site(torch.rand(2 * 50, 4, dtype=torch.float64))
    mean, std = record[""].moments()
    torch.testing.assert_close(mean, record[""].margins.mean(1))
    torch.testing.assert_close(std, record[""].margins.std(1, correction=0))


def test_moments_of_a_channel_that_never_moves_have_a_finite_slope():
    site = Site(Neuron(), 1)
    current = torch.full((6, 2), 0.5, requires_grad=True)
    with probe(site, "moments") as record:
        site(current)
    mean, std = record[""].moments()
    assert std.flatten().tolist() == pytest.approx([1e-3, 1e-3])
    assert torch.autograd.grad((mean + std).sum(), current)[0].isfinite().all()


FIELDS = {"moments": {"total", "total_of_squares"}, "margins": {"margins"}, "rate": {"rate"}}


@pytest.mark.parametrize("asked", [c for n in range(4) for c in itertools.combinations(FIELDS, n)], ids=str)
@pytest.mark.parametrize("cost", [None, Hinge(0.3)], ids=str)
def test_record_is_exactly_what_was_asked(model, images, asked, cost):
    with probe(model, *asked, cost=cost) as record:
        logits = model(images)
    assert torch.equal(logits, model(images))
    expected = set().union({"count", "window", "normed"}, *(FIELDS[ask] for ask in asked))
    expected |= set() if cost is None else {"cost_total"}
    assert list(record) == list(sites(model))
    assert [seen.normed for seen in record.values()] == [site.norm is not None for site in sites(model).values()]
    for seen in record.values():
        assert {name for name, value in vars(seen).items() if value is not None} == expected
    if "moments" in asked:
        assert all(seen.total.requires_grad and seen.total_of_squares.requires_grad for seen in record.values())
    if "rate" in asked:
        assert all(0 < seen.rate < 1 and not seen.rate.requires_grad for seen in record.values())


@pytest.mark.parametrize("name", ["vgg11", "wrn16"])
def test_sites_are_listed_in_the_order_of_the_forward(name):
    model = create_model(name, num_classes=3, num_steps=1, width=0.02).eval()
    with probe(model, "rate") as record:
        model(torch.rand(2, 3, 32, 32))
    assert list(record) == list(sites(model))


def test_rate_is_the_mean_of_the_spikes_and_window_the_surrogates():
    site = Site(Neuron(surrogate=Sigmoid(8.0)), 4)
    with probe(site, "rate") as record:
        spikes = site(torch.rand(8, 3, 2, 2))
    assert record[""].rate.item() == pytest.approx(spikes.mean().item())
    assert record[""].window == 0.5


def _face(model):
    """Everything a site holds, by name."""
    return {name: dict(vars(site)) for name, site in sites(model).items()}


def test_nothing_is_left_behind(model, images):
    before = _face(model)
    with probe(model, "moments", "margins", "rate", cost=Hinge(0.5)) as record:
        model(images)
    assert _face(model) == before
    kept = {name: seen.total for name, seen in record.items()}
    model(images)
    assert all(record[name].total is total for name, total in kept.items())  # still readable, no longer renewed


def test_nothing_is_left_behind_by_an_exception(model, images):
    before = _face(model)
    with pytest.raises(ZeroDivisionError), probe(model, "margins"):
        model(images)
        raise ZeroDivisionError
    assert _face(model) == before


def test_nested_probes_see_their_own_forwards(model, images):
    with probe(model, "moments") as outer:
        model(images)
        first = {name: seen.total for name, seen in outer.items()}
        with probe(model, "rate") as inner:
            model(images)
        assert all(seen.total is None and seen.rate is not None for seen in inner.values())
        model(images)
        assert all(seen.total is not first[name] and seen.rate is None for name, seen in outer.items())
        assert all(torch.equal(seen.total, first[name]) for name, seen in outer.items())


@pytest.mark.parametrize("source", [BPTT(Sigmoid()), ASSG()], ids=lambda source: source.name)
def test_a_probe_also_sees_forwards_under_a_gradient_source(model, images, source):
    with probe(model, "margins") as plain:
        model(images)
    with source.attach(model), probe(model, "margins") as record:
        model(images)
    assert list(record) == list(plain)
    assert all(torch.equal(record[name].margins, plain[name].margins) for name in plain)


def test_impossible_requests_are_refused(model):
    with pytest.raises(SpikeproofError, match="spikes"), probe(model, "spikes"):
        pass
    with pytest.raises(SpikeproofError, match="no sites"), probe(nn.Linear(2, 2), "rate"):
        pass
    site = Site(Neuron(), 1)
    with probe(site, "rate") as record:
        site(torch.rand(2, 2))
    with pytest.raises(SpikeproofError, match="no moments"):
        record[""].moments()


def test_override_replaces_the_op_and_is_restored_whatever_happens(model, images):
    def silent(site, drive, *, pooled):
        return torch.zeros_like(site.fire(drive, pooled=pooled).spikes)

    first, *others = sites(model)
    plain = model(images)
    with override_gradient(model, {first: silent}):
        assert sites(model)[first].override is silent
        assert all(sites(model)[other].override is None for other in others)
        assert not torch.equal(model(images), plain)
        with pytest.raises(ZeroDivisionError), override_gradient(model, dict.fromkeys(sites(model))):
            assert torch.equal(model(images), plain)
            raise ZeroDivisionError
        assert sites(model)[first].override is silent
    assert torch.equal(model(images), plain)
