"""A step in parts: the same gradients, less memory, and a part that fits."""

import pytest
import torch

from spikeproof.data import load_data
from spikeproof.defenses import AdversarialTraining
from spikeproof.models import create_model
from spikeproof.runs import microbatch as room
from spikeproof.runs.microbatch import fitting_microbatch, saved_bytes
from spikeproof.spiking import sites
from spikeproof.train import TrainConfig, train


def digits_model(*, normed: bool):
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3)
    if not normed:  # batch norm is the one thing that sees the whole batch
        for site in sites(model).values():
            site.norm = None
    return model


def trained(microbatch, *, normed=False, defenses=()):
    data = load_data("digits", validation=50, train_limit=96)
    model = digits_model(normed=normed).double()  # a part's size changes rounding, and that may flip a spike
    config = TrainConfig(
        epochs=1, batch_size=48, augmentation=None, microbatch=microbatch, learning_rate=0.05, precision="fp32"
    )
    run = train(model, data, defenses, config, show=False)
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()]), run


@pytest.mark.parametrize("microbatch", [1, 17, 24, 48])
def test_parts_add_up_to_the_gradients_of_the_whole_batch(microbatch):
    whole, run = trained(None)
    parts, again = trained(microbatch)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)
    assert again.metrics[0]["loss"] == pytest.approx(run.metrics[0]["loss"], rel=1e-9)
    assert again.metrics[0]["train_accuracy"] == run.metrics[0]["train_accuracy"]


def test_batch_norm_sees_each_part_by_itself():
    whole, _ = trained(None, normed=True)
    parts, _ = trained(24, normed=True)
    assert (parts - whole).abs().max() > 1e-4


def test_every_part_of_an_adversarial_batch_is_crafted_on_its_own():
    at = AdversarialTraining(eps=0.1, attack="fgsm")
    whole, _ = trained(None, defenses=[at])
    parts, _ = trained(16, defenses=[at])
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)  # FGSM draws nothing, so parts change nothing


def test_saved_bytes_grow_with_the_images_and_leave_the_model_alone():
    model = digits_model(normed=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.eval()
    batches = [torch.rand(n, 1, 8, 8) for n in (2, 4, 6)]
    state = torch.get_rng_state()
    two, four, six = (saved_bytes(model, images, bf16=False) for images in batches)
    assert four - two == six - four > 0
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("free", "expected"), [(10**12, 48), (1, 1)])
def test_auto_takes_what_fits(monkeypatch, free, expected):
    monkeypatch.setattr(room, "free_bytes", lambda device: free)
    assert fitting_microbatch(digits_model(normed=True), torch.rand(1, 8, 8), 48, bf16=False) == expected


def test_auto_splits_a_batch_evenly(monkeypatch):
    model = digits_model(normed=True)
    four, two = (saved_bytes(model, torch.rand(n, 1, 8, 8), bf16=False) for n in (4, 2))
    enough_for_30 = (four - two) / 2 * room._PEAK_OVER_SAVED * 30.5 / room._SHARE_OF_FREE
    monkeypatch.setattr(room, "free_bytes", lambda device: enough_for_30)
    assert fitting_microbatch(model, torch.rand(1, 8, 8), 48, bf16=False) == 24  # 24 + 24, not 30 + 18


def test_processes_share_what_is_free(monkeypatch):
    model = digits_model(normed=True)
    four, two = (saved_bytes(model, torch.rand(n, 1, 8, 8), bf16=False) for n in (4, 2))
    enough_for_48 = (four - two) / 2 * room._PEAK_OVER_SAVED * 48.5 / room._SHARE_OF_FREE
    monkeypatch.setattr(room, "free_bytes", lambda device: enough_for_48)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert fitting_microbatch(model, torch.rand(1, 8, 8), 48, bf16=False) == 12


@pytest.mark.parametrize("microbatch", [0, -3])
def test_an_impossible_microbatch_is_refused(microbatch, refuses):
    with refuses("microbatch", microbatch):
        TrainConfig(microbatch=microbatch)
