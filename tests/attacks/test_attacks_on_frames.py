"""Attacks on event data: every one, in its ball, with the verdict of the network on the frames themselves."""

import pytest
import torch
from every_attack import EVERY
from torch import nn

import spikeproof as sp
from spikeproof.attacks import judge, local_search, pgd, sa_pgd, transfer
from spikeproof.coding import Direct, Frames
from spikeproof.models import create_model
from spikeproof.threat import L0, L1, L2, Linf, Patch

STEPS, SIZE = 3, 8


@pytest.fixture
def model():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        settings = {"num_classes": 10, "num_steps": STEPS, "image_size": SIZE, "in_channels": 2, "width": 0.25}
        made = create_model("conv", coding=Frames(), mean=0.2, std=0.4, **settings).eval()
        for layer in (made.body[-3], made.body[-1]):
            nn.init.normal_(layer.weight, std=1.0)
    return made


@pytest.fixture
def batch(model):
    drawn = torch.rand(4, STEPS, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    frames = (drawn < 0.3).float()
    return frames, model(frames).argmax(1)


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name in EVERY if name != "TRANSFER"])
def test_every_attack_takes_frames(name, model, batch):
    frames, labels = batch
    case = EVERY[name]
    threat = case.threat(0.2)
    found = case(model, frames, labels, threat)
    assert found.images.shape == frames.shape
    assert found.images.min() >= 0 and found.images.max() <= 1
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert found.nearest is None or found.nearest.shape == frames.shape
    if case.near:
        assert threat.distance(found.images, frames).max() <= threat.eps + 1e-5


def test_pgd_breaks_what_it_should(model, batch):
    frames, labels = batch
    assert not pgd(model, frames, labels, Linf(0.5), steps=10).correct.all()


def test_a_pixel_of_frames_is_a_place_in_all_steps():
    frames = torch.zeros(1, STEPS, 2, SIZE, SIZE)
    moved = frames.clone()
    moved[0, :, :, 2, 2] = 0.5
    assert L0(1).distance(moved, frames).item() == Patch(1).distance(moved, frames).item() == 1
    assert L1(1).distance(moved, frames).item() == STEPS
    assert L2(1).distance(moved, frames).item() == pytest.approx((STEPS / 2) ** 0.5)
    inside = L2(0.5).project(moved, frames)
    assert L2(1).distance(inside, frames).item() == pytest.approx(0.5)
    assert L1(1).distance(L1(1).project(moved, frames), frames).item() == pytest.approx(1)


def test_an_attack_goes_on_from_frames(model, batch):
    frames, labels = batch
    first = sa_pgd(model, frames, labels, Linf(0.02), steps=2)
    second = local_search(model, frames, labels, Linf(0.02), queries=20, start=first.nearest)
    assert second.images.shape == frames.shape
    assert (second.correct <= first.correct).all()


def test_substitutes_get_frames(model, batch):
    frames, labels = batch
    found = transfer(model, frames, labels, Linf(0.3), substitutes=[model])
    own = pgd(model, frames, labels, Linf(0.3), keep="last")
    assert torch.equal(found.correct, own.correct)


def test_a_network_that_the_user_wrote_gets_frames(batch):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2 * SIZE * SIZE, 10)

        def forward(self, frames):
            assert frames.ndim == 5
            return self.fc(frames.flatten(2)).relu().mean(1)

    net = Net().eval()
    frames, _ = batch
    labels = net(frames).argmax(1)
    assert not pgd(net, frames, labels, Linf(0.5), steps=5).correct.any()


def test_frames_and_images_are_not_taken_for_each_other(model, batch, refuses):
    frames, labels = batch
    with refuses("takes frames of 3x2x8x8", "these are 2x8x8"):
        pgd(model, frames[:, 0], labels, Linf(0.1))
    model.set_coding(Direct())
    with refuses("takes images of 2x8x8", "these are 3x2x8x8", "coding Frames and 3 steps"):
        pgd(model, frames, labels, Linf(0.1))
    with refuses("outside [0, 1]", "counts of events by the largest"):
        pgd(model, 3 * frames, labels, Linf(0.1))


def test_the_coding_wants_a_frame_for_each_step(model, batch, refuses):
    frames, _ = batch
    with refuses("3 steps", "[N,3,C,H,W]", "[4, 2, 2, 8, 8]"):
        model(frames[:, :2])


def test_the_same_frame_in_every_step_is_direct_coding(model, batch):
    """In float64, where no rounding flips a spike."""
    model, image = model.double(), batch[0][:, 0].double()
    by_frames = model(image[:, None].expand(-1, STEPS, -1, -1, -1))
    model.set_coding(Direct())
    torch.testing.assert_close(by_frames, model(image))
    assert sp.sites(model)["body.0"].constant
