"""FEEL: learned decays against a network written out, their number, and the coding that comes with them."""

import pytest
import torch
from slow_conv import STEPS, SlowSpike, awake_conv, channels_first, slow_logits
from torch import nn

from spikeproof.coding.frequency import Frequency
from spikeproof.coding.poisson import Poisson
from spikeproof.defenses.feel import FEEL
from spikeproof.models import create_model, load_model, save_model
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.spiking import sites


def with_drawn_decays(model):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for site in sites(model).values():
            site.decay.copy_(torch.rand(site.decay.shape, generator=generator, dtype=torch.float64) * 1.2 - 0.1)
    return model


def leaky(decays):
    def fire(name, currents):
        carried, spikes = torch.zeros_like(currents[0]), []
        for t, current in enumerate(currents):
            potential = decays[name][t] * carried + current
            spikes.append(SlowSpike.apply(potential - 1))
            carried = (1 - spikes[-1]) * potential
        return spikes

    return fire


@pytest.mark.parametrize("frequency", [False, True])
def test_a_network_with_decays_is_the_one_written_out_with_all_its_gradients(frequency):
    model, images, _ = awake_conv()
    plain = model(images)
    FEEL(frequency=frequency).install(model)
    if not frequency:
        assert torch.equal(model(images), plain)  # a decay of 1 is what these neurons had
    with_drawn_decays(model)
    frames = model.coding.encode(images, STEPS)
    if not frequency:
        frames = (frames.expand(STEPS, *images.shape) - 0.5) / 0.25
    decays = {name: site.decay for name, site in sites(model).items()}
    slow = slow_logits(model, frames, leaky({name: channels_first(decay) for name, decay in decays.items()}))
    found = model(images)
    assert not torch.allclose(found, plain, atol=1e-3)
    torch.testing.assert_close(found, slow, rtol=1e-11, atol=1e-11)
    wanted = [*decays.values(), model.stem.weight]
    weights = torch.arange(4, dtype=torch.float64) - 1.3
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), wanted),
        torch.autograd.grad((slow * weights).sum(), wanted),
        strict=True,
    ):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_a_first_step_has_nothing_to_decay():
    model, images, _ = awake_conv()
    FEEL(frequency=False).install(model)
    model(images).square().sum().backward()
    for site in sites(model).values():
        assert (site.decay.grad[0] == 0).all() and site.decay.grad[1:].abs().max() > 0


def test_decays_are_parameters_like_all_others():
    model, *_ = awake_conv()
    before = sum(parameter.numel() for parameter in model.parameters())
    defense = FEEL()
    defense.install(model)
    assert defense.groups(model) == [] and defense.weight_decay is None  # they decay as the weights do
    decays = [site.decay for site in sites(model).values()]
    assert [tuple(decay.shape) for decay in decays] == [(3, 8, 8, 5), (3, 4, 4, 10), (3, 38)]
    assert sum(parameter.numel() for parameter in model.parameters()) - before == 3 * (64 * 5 + 16 * 10 + 38)
    assert all(decay.dtype == torch.float64 and (decay == 1).all() for decay in decays)
    assert not draws_at_random(model)


def test_vgg11_of_eight_steps_gets_the_published_number_of_decays():
    # An eighth of the width has an eighth of the neurons, and is made in a second.
    model = create_model("vgg11", num_classes=10, num_steps=8, width=0.125)
    FEEL().install(model)
    assert 8 * sum(site.decay.numel() for site in sites(model).values()) == 2_293_760  # "2.29 M"


def test_a_model_keeps_frequency_radii_of_its_own():
    options = {"num_classes": 4, "num_steps": 2, "image_size": 8, "in_channels": 1}
    for coding, expected in ((None, Frequency()), (Frequency((4, 2)), Frequency((4, 2)))):
        model = create_model("conv", coding=coding, **options)
        FEEL(leak=False).install(model)
        assert model.coding == model.description.coding == expected
        assert all(site.decay is None for site in sites(model).values())


def test_it_comes_back_from_disk_and_trains_on(tmp_path):
    model, images, _ = awake_conv()
    FEEL().install(model)
    model, images = with_drawn_decays(model).float(), images.float()
    save_model(model, tmp_path / "feel")
    loaded = load_model(tmp_path / "feel")
    assert loaded.description == model.description and loaded.description.coding == Frequency()
    assert torch.equal(loaded(images), model(images))
    FEEL().install(loaded)
    assert torch.equal(loaded(images), model(images))


def test_what_cannot_be_is_refused(refuses):
    with refuses("FEEL", "does nothing"):
        FEEL(frequency=False, leak=False)
    with refuses("FEEL", "create_model"):
        FEEL().install(nn.Linear(2, 2))
    model = create_model("conv", num_classes=4, image_size=8, in_channels=1, coding=Poisson())
    with refuses("FEEL", "Poisson", "frequency=False"):
        FEEL().install(model)
    FEEL(frequency=False).install(model)
    assert model.coding == Poisson()
