"""Event data through networks of other libraries: however they are called, each step gets its own frame."""

import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.interop import Runs

pytest.importorskip("spikingjelly")
STEPS = 4


def jelly(step_mode="s"):
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.AvgPool2d(2),
            layer.Flatten(),
            layer.Linear(64, 16),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.Linear(16, 10),
        )
        nn.init.normal_(net[0].weight, std=1.0)
    functional.set_step_mode(net, step_mode)
    return net.double()


class Loops(nn.Module):
    """Takes [N,T,C,H,W] and loops over the steps itself."""

    def __init__(self, steps=STEPS):
        super().__init__()
        self.net, self.steps = jelly(), steps

    def forward(self, frames):
        return torch.stack([self.net(frames[:, step]) for step in range(self.steps)])


class Merges(nn.Module):
    """Takes [N*T,C,H,W]."""

    def __init__(self):
        super().__init__()
        self.net = jelly("m")

    def forward(self, merged):
        return self.net(merged.unflatten(0, (-1, STEPS)).transpose(0, 1)).transpose(0, 1).flatten(0, 1)


WAYS = {
    Runs.IMAGES: Loops,
    Runs.SEQUENCE: lambda: jelly("m"),
    Runs.MERGED: Merges,
    Runs.STEPS: jelly,
}


@pytest.fixture(scope="module")
def frames():
    drawn = torch.rand(3, STEPS, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (drawn < 0.3).double()


@pytest.fixture(scope="module")
def expected(frames):
    """By hand: one frame after the other, the outputs' mean."""
    with torch.no_grad():
        return torch.stack([Loops()(each[None]).mean(0)[0] for each in frames])


@pytest.mark.parametrize("native", [False, True], ids=["theirs", "native"])
@pytest.mark.parametrize("runs", WAYS, ids=lambda runs: runs.value)
def test_each_step_gets_its_frame_however_the_network_is_called(runs, native, frames, expected):
    net = sp.adapt(WAYS[runs](), num_steps=STEPS, native=native)
    leaf = frames.clone().requires_grad_()
    logits = net(leaf)
    assert net.settled.runs is runs and net.settled.frames
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    logits.square().sum().backward()
    assert (leaf.grad.flatten(2).abs().sum(2) > 0).all()  # no step is left out
    assert len(sp.sites(net)) == 2


def test_a_state_that_is_handed_along_is_not_dropped(frames):
    snn = pytest.importorskip("snntorch")

    class Hands(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(128, 10), snn.Leaky(beta=0.5)
            nn.init.normal_(self.fc.weight, std=0.3)

        def forward(self, images, state=None):
            return self.lif(self.fc(images.flatten(1)), self.lif.reset_mem() if state is None else state)

    own = Hands().double()
    net = sp.adapt(own, num_steps=STEPS)
    with torch.no_grad():
        state, spikes = None, []
        for step in range(STEPS):
            spike, state = own(frames[:, step], state)
            spikes.append(spike)
        assert torch.equal(net(frames), torch.stack(spikes).mean(0))
    assert net.settled.runs is Runs.STATES


def test_the_same_frame_in_every_step_is_an_image(frames):
    image = frames[:, 0]
    by_frames, by_image = (sp.adapt(jelly(), num_steps=STEPS) for _ in range(2))
    assert torch.equal(by_frames(image[:, None].repeat(1, STEPS, 1, 1, 1)), by_image(image))


def test_a_function_of_the_network_gets_the_frames_as_they_are(frames, expected):
    net = sp.adapt(Loops(), num_steps=STEPS, runs=lambda net, given: net(given))
    torch.testing.assert_close(net(frames), expected, rtol=1e-12, atol=1e-12)


def test_normalisation_is_of_channels(frames):
    mean, std = [0.1, 0.3], [0.5, 0.25]
    told = sp.adapt(jelly(), num_steps=STEPS, mean=mean, std=std)(frames)
    channel = torch.tensor(mean).view(2, 1, 1), torch.tensor(std).view(2, 1, 1)
    by_hand = sp.adapt(jelly(), num_steps=STEPS)((frames - channel[0]) / channel[1])
    torch.testing.assert_close(told, by_hand)


def test_other_numbers_of_steps_are_refused(frames, refuses):
    with refuses("[N,4,C,H,W]", "(3, 2, 2, 8, 8)"):
        sp.adapt(jelly(), num_steps=STEPS)(frames[:, :2])
    with refuses("asked to run 4 steps", "frames [N,T,C,H,W]"):
        sp.adapt(Loops(steps=3), num_steps=STEPS)(frames)


def test_images_after_frames_are_refused(frames, refuses):
    net = sp.adapt(jelly(), num_steps=STEPS)
    net(frames)
    with refuses("called with frames at first", "adapt it again for images"):
        net(frames[:, 0])
