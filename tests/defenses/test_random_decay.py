"""RandHet: what is drawn, how often, and that the network is the one written out for that draw."""

import math

import pytest
import torch
from slow_conv import STEPS, SlowSpike, awake_conv, slow_logits
from torch import nn

from spikeproof.defenses import LSG, compose
from spikeproof.defenses.feel import FEEL
from spikeproof.defenses.random_decay import RandHet
from spikeproof.models import load_model, save_model, site_shapes
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.spiking import Neuron, Site, probe, sites


def test_a_forward_is_the_network_written_out_with_the_decays_it_drew():
    model, images, _ = awake_conv()
    plain = model(images)
    RandHet(low=0.2, high=0.9).install(model)
    torch.manual_seed(5)
    found = model(images)
    torch.manual_seed(5)
    decays = {}
    for name, neurons in site_shapes(model).items():
        decays[name] = (0.2 + 0.7 * torch.rand(neurons)).movedim(-1, 0)

    def fire(name, currents):
        carried, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            potential = decays[name].double() * carried + current
            spikes.append(SlowSpike.apply(potential - 1))
            carried = (1 - spikes[-1]) * potential
        return spikes

    slow = slow_logits(model, (images.expand(STEPS, *images.shape) - 0.5) / 0.25, fire)
    torch.testing.assert_close(found, slow, rtol=1e-6, atol=1e-6)  # decays are drawn in float32
    assert not torch.allclose(found, plain, atol=1e-3)
    ours, theirs = (torch.autograd.grad(logits[:, 0].sum(), model.stem.weight)[0] for logits in (found, slow))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_decays_are_uniform_between_the_bounds_and_one_for_all_samples_and_steps():
    torch.manual_seed(0)
    many = 100_000
    site = Site(Neuron(threshold=100.0), 3).eval()
    RandHet(low=0.25, high=0.75).install(site)
    with probe(site, "margins") as record:
        site(torch.ones(3 * 2, many))
    potentials = record[""].margins + 100  # 1, 1 + l, 1 + l + l^2
    decays = potentials[1] - 1
    assert torch.equal(decays[0], decays[1])
    torch.testing.assert_close(potentials[2], 1 + decays + decays**2, rtol=0, atol=1e-4)
    for z, within in ((0.35, 0.2), (0.5, 0.5), (0.7, 0.9)):
        assert abs((decays[0] < z).float().mean().item() - within) < 0.01
    assert decays.min() >= 0.25 - 1e-4 and decays.max() <= 0.75 + 1e-4
    assert abs(torch.corrcoef(torch.stack([decays[0, :-1], decays[0, 1:]]))[0, 1].item()) < 0.02


def test_every_forward_draws_anew_in_training_and_in_eval_mode():
    model, images, _ = awake_conv()
    assert not draws_at_random(model)
    RandHet().install(model)
    for mode in (True, False):
        model.train(mode)
        assert draws_at_random(model) and not torch.equal(model(images), model(images))


def test_it_comes_back_from_disk(tmp_path):
    model, images, _ = awake_conv()
    RandHet(low=0.1, high=0.6).install(model)
    model, images = model.float(), images.float()
    save_model(model, tmp_path / "random")
    loaded = load_model(tmp_path / "random")
    assert {site.random_decay for site in sites(loaded).values()} == {(0.1, 0.6)}
    seen = []
    for network in (model, loaded):
        torch.manual_seed(2)
        seen.append(network(images))
    assert torch.equal(*seen)


def test_drawn_and_learned_decays_do_not_go_together(refuses):
    for pair in ([RandHet(), FEEL()], [FEEL(frequency=False), RandHet()], [RandHet(), LSG()], [LSG(), FEEL()]):
        with refuses(pair[0].label, pair[1].label, "decays"):
            compose(pair)
    compose([RandHet(), FEEL(leak=False)])


@pytest.mark.parametrize(
    "bad", [{"low": -0.1}, {"high": 1.1}, {"low": 0.5, "high": 0.5}, {"low": math.nan}, {"high": math.nan}], ids=str
)
def test_impossible_bounds_are_refused(bad, refuses):
    with refuses("RandHet", "low", "high"):
        RandHet(**bad)


def test_a_model_without_sites_is_refused(refuses):
    with refuses("RandHet", "sites"):
        RandHet().install(nn.Linear(2, 2))
