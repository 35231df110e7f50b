"""SDA: binary frames within the budget, against brute force over all flips of up to two events."""

import itertools

import pytest
import torch
from torch import nn

import spikeproof as sp
from digit_networks import InDouble
from spikeproof.attacks import ATTACKS, Crafting, judge, sda
from spikeproof.audit.trials import make_trial
from spikeproof.gradients import BPTT, PDSG
from spikeproof.models import create_model
from spikeproof.threat import Events

SHAPE = (2, 1, 4, 4)  # T, C, H, W


def binary(count, *shape, seed=0):
    return (torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


class Linear(nn.Module):
    """The margin of two classes is a sum over events."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.fc = nn.Linear(32, 2)

    def forward(self, frames):
        return self.fc(frames.flatten(1))


def spiking():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        shape = {"num_classes": 3, "num_steps": 2, "image_size": 4, "in_channels": 1, "width": 0.25}
        model = create_model("conv", coding=sp.Frames(), mean=0.3, std=0.4, **shape)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=1.0)
    return InDouble(model).eval()


def flipped(frames, places):
    moved = frames.clone().flatten(1)
    moved[:, places] = 1 - moved[:, places]
    return moved.view_as(frames)


@torch.no_grad()
def fewest(model, frames, labels, most=2):
    """By brute force, how many flips break each sample; more than ``most`` where no so few do."""
    found = torch.full((len(frames),), most + 1)
    for number in range(most, 0, -1):
        for places in itertools.combinations(range(frames[0].numel()), number):
            broken = model(flipped(frames, places)).argmax(1) != labels
            found[broken] = number
    return found


@pytest.fixture(scope="module")
def tiny():
    frames = binary(24, *SHAPE)
    return {
        name: (net, frames, net(frames).argmax(1), fewest(net, frames, net(frames).argmax(1)))
        for name, net in (("linear", Linear()), ("spiking", spiking()))
    }


@pytest.mark.parametrize("budget", [1, 2])
def test_where_flips_add_up_it_finds_the_fewest(tiny, budget):
    net, frames, labels, least = tiny["linear"]
    found = sda(net, frames, labels, Events(budget), steps=4)
    assert 0 < int((least <= budget).sum()) < len(frames)
    assert torch.equal(~found.correct, least <= budget)
    flips = Events(budget).distance(found.images, frames)
    assert torch.equal(flips[~found.correct].long(), least[least <= budget])


@pytest.mark.parametrize("source", [PDSG(), BPTT()], ids=lambda source: source.name)
def test_a_spiking_network_that_one_event_breaks_is_broken(tiny, source):
    """In 4 steps all 32 values are tested alone."""
    net, frames, labels, least = tiny["spiking"]
    found = sda(net, frames, labels, Events(1), Crafting(source=source), steps=4)
    assert int((least == 1).sum()) == 3
    assert torch.equal(~found.correct, least == 1)


def test_of_what_two_events_break_it_breaks_a_good_part(tiny):
    """In this network what two flips do is far from the sum of what each does; two fifths are found, no one more."""
    net, frames, labels, least = tiny["spiking"]
    found = sda(net, frames, labels, Events(2), Crafting(source=PDSG()), steps=8)
    assert int((least <= 2).sum()) == 16
    assert not (~found.correct & (least > 2)).any()
    assert int((~found.correct).sum()) >= 6


@pytest.mark.parametrize("budget", [0, 1, 5, 1000])
def test_frames_stay_binary_and_in_the_budget(budget):
    net = spiking()
    frames = binary(6, *SHAPE, seed=1)
    labels = net(frames).argmax(1)
    found = sda(net, frames, labels, Events(budget), steps=3)
    assert found.images.shape == frames.shape and set(found.images.unique().tolist()) <= {0.0, 1.0}
    assert Events(budget).distance(found.images, frames).max() <= budget
    assert torch.equal(found.correct, judge(net, found.images).argmax(1) == labels)
    assert found.correct.all() == (budget == 0)
    assert torch.equal(found.images[found.correct & (budget == 0)], frames[found.correct & (budget == 0)])


def test_events_are_put_back_until_one_fewer_would_not_do():
    """On a network whose flips add up: each single flip that is left is needed."""
    net, frames = Linear(), binary(10, *SHAPE, seed=2)
    labels = net(frames).argmax(1)
    found = sda(net, frames, labels, Events(32), steps=4)
    assert not found.correct.any()
    for sample in range(len(frames)):
        for place in (found.images != frames)[sample].flatten().nonzero().flatten().tolist():
            back = flipped(found.images[sample : sample + 1], [place])
            assert net(back).argmax(1) == labels[sample]


def test_binary_images_without_steps_are_taken_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    images = binary(5, 1, 3, 3)
    labels = net(images).argmax(1)
    assert sda(net, images, labels, Events(9), steps=3).images.shape == images.shape


def test_other_frames_and_threats_are_refused(refuses):
    net, frames = Linear(), binary(3, *SHAPE)
    labels = net(frames).argmax(1)
    with refuses("binary frames", "sample 1", "PGD, SPARSE-RS"):
        sda(net, torch.stack([frames[0], frames[1] / 2, frames[2]]), labels, Events(2))
    with refuses("SDA searches events balls only", "Linf"):
        sda(net, frames, labels, sp.Linf(0.1))
    with refuses("PGD", "events"):
        sp.pgd(net, frames, labels, Events(2))
    with refuses("SDA", "steps"):
        sda(net, frames, labels, Events(2), steps=0)
    with refuses("threat of events", "-1"):
        Events(-1)


def test_it_is_a_trial_of_its_own_ball():
    trial = make_trial("SDA-7@PDSG")
    assert trial.name == "SDA-7@PDSG" and trial.threat(0.1, 64) == Events(7)
    assert trial.norm == "events" and not trial.bounded
    assert ATTACKS["SDA"].apart  # from the battery of everything, whose images are not binary


@pytest.mark.thorough
def test_an_audit_has_it_beside_its_ball():
    events = sp.load_data("digits-events", validation=20, train_limit=64, test_limit=40)
    shape = {"num_classes": 10, "image_size": 12, "in_channels": 2, "mean": events.mean, "std": events.std}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = sp.create_model("conv", num_steps=6, coding=sp.Frames(), width=0.25, **shape)
    config = sp.AuditConfig(samples=10, battery=None, trials=("PGD-2", "SDA-4@PDSG"), diagnostics=False)
    found = sp.audit(model, events.test, config, show=False)
    assert [result.trial.name for result in found.results] == ["PGD-2", "SDA-4@PDSG"]
