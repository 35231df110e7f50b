"""Another number of steps: the same weights run for it everywhere, or a sentence says why they cannot."""

import pytest
import torch

from spikeproof.coding import Direct, Frequency, Poisson
from spikeproof.defenses import FEEL, HoSNN
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import sites

SHAPE = {"num_classes": 10, "image_size": 8, "in_channels": 1, "width": 0.5}


def made(steps, name="conv", **options):
    torch.manual_seed(0)
    model = create_model(name, num_steps=steps, **(SHAPE | options))
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.rand(16, 1, 8, 8))
    return model.eval()


def logits(model, images):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(images)


@pytest.mark.sweep
@pytest.mark.parametrize("coding", [Direct(), Poisson()], ids=["direct", "Poisson"])
@pytest.mark.parametrize("name", ["conv", "resnet17", "sew-resnet19"])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_same_weights_run_for_another_number_of_steps(coding, name, steps):
    images = torch.rand(5, 1, 8, 8)
    width = 0.5 if name == "conv" else 0.05
    four = made(4, name, coding=coding, width=width)
    other = create_model(name, num_steps=steps, coding=coding, **(SHAPE | {"width": width}))
    other.load_state_dict(four.state_dict())
    wanted = logits(other.eval(), images)
    four.num_steps = steps
    assert torch.equal(logits(four, images), wanted)
    assert len(four.forward_steps(images)) == steps
    assert four.num_steps == steps == four.description.num_steps
    assert {site.num_steps for site in sites(four).values()} == {steps}


def test_it_is_saved_with_the_weights(tmp_path):
    model, images = made(4), torch.rand(3, 1, 8, 8)
    model.num_steps = 6
    save_model(model, tmp_path / "six.safetensors")
    loaded = load_model(tmp_path / "six.safetensors")
    assert loaded.num_steps == 6
    assert torch.equal(logits(loaded, images), logits(model, images))


@pytest.mark.parametrize("steps", [0, -1, True])
def test_an_impossible_number(refuses, steps):
    model = made(4)
    with refuses("num_steps"):
        model.num_steps = steps
    assert model.num_steps == 4


@pytest.mark.parametrize("make", [FEEL, HoSNN], ids=["FEEL", "HoSNN"])
def test_what_was_learned_for_each_step_has_no_other_number(refuses, make):
    model = made(4, coding=Frequency((4, 2, 2, 1)) if make is FEEL else None)
    defense = make()
    defense.install(model)
    before = {name: site.num_steps for name, site in sites(model).items()}
    with refuses("each of its 4 steps", "8 steps"):
        model.num_steps = 8
    assert {name: site.num_steps for name, site in sites(model).items()} == before
    model.num_steps = 4  # the same again is no change


def test_batch_norm_of_each_step(refuses):
    model = made(4, batch_norm="per-step")
    with refuses("each of its 4 steps", "2 steps"):
        model.num_steps = 2
