"""Event data from end to end: networks of ours, adapted ones and ANNs are trained and audited on frames."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.report.run_files import read_runs

STEPS = 6


@pytest.fixture(scope="module")
def events():
    return sp.load_data("digits-events", validation=20, train_limit=64, test_limit=40)


def ours(events):
    shape = {"num_classes": 10, "image_size": 12, "in_channels": 2, "mean": events.mean, "std": events.std}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return sp.create_model("conv", num_steps=STEPS, coding=sp.Frames(), width=0.25, **shape)


def adapted(events):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import layer, neuron, surrogate

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(
            layer.Flatten(),
            layer.Linear(288, 32),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.Linear(32, 10),
        )
        nn.init.normal_(net[1].weight, std=0.3)
    return sp.adapt(net, num_steps=STEPS, mean=events.mean, std=events.std)


class PlainNet(nn.Module):
    """An ANN of frames."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(STEPS * 288, 16), nn.Linear(16, 10)

    def forward(self, frames):
        return self.fc2(self.fc1(frames.flatten(1)).relu())


NETWORKS = {"ours": ours, "adapted": adapted}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def quick(**changes):
    settings = {"eps": 0.1, "samples": 6, "battery": None, "trials": ("PGD-3", "SA-PGD-3@ASSG", "LOCAL-10")}
    return sp.AuditConfig(**(settings | {"diagnostics": False} | changes))


@each_network
def test_adversarial_training_and_an_audit(make, events, tmp_path):
    """The run folder, its pictures and its report too."""
    config = sp.TrainConfig(epochs=1, batch_size=32, augmentation=None, optimizer="adam", learning_rate=1e-2)
    model = make(events)
    before = [weight.detach().clone() for weight in model.parameters()]
    run = sp.train(model, events, defenses=[sp.AdversarialTraining(eps=0.05)], config=config, show=False)
    assert any(rate > 0 for rate in run.metrics[-1]["firing_rates"].values())
    assert not torch.equal(before[-1], list(run.model.parameters())[-1])
    found = sp.audit(run.model, events.test, quick(), validation=events.validation, show=False)
    assert found.worst_case.accuracy <= found.protocol.accuracy <= found.clean.accuracy
    assert found.pictures["clean"].shape[1:] == (STEPS, 2, 12, 12)
    found.save(tmp_path / "run")
    (saved,) = read_runs(tmp_path / "run")
    pictures = saved.pictures
    assert pictures.clean.shape[1:] == (3, 12, 12) and not pictures.clean[:, 1].any()
    np.testing.assert_allclose(
        pictures.adversarial[:, 2], found.pictures["adversarial"][:, :, 1].mean(1), rtol=1e-5, atol=1e-6
    )
    sp.write_report([tmp_path / "run"], tmp_path / "report.html")


@pytest.mark.thorough
@each_network
@pytest.mark.parametrize("battery", ["quick", "reliable"])
def test_whole_batteries(make, battery, events):
    found = sp.audit(make(events), events.test, sp.AuditConfig(eps=0.1, samples=4, battery=battery), show=False)
    assert found.worst_case.accuracy <= found.clean.accuracy


def test_an_ann_of_frames_is_audited(events):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        found = sp.audit(PlainNet(), events.test, quick(battery="quick", trials=(), eps=0.5), show=False)
    assert found.network.plain and found.worst_case.accuracy == 0


class Rounded(nn.Module):
    """No gradient reaches its frames, which it rounds before anything else."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, frames):
        return self.inner((frames.detach() * 8).round() / 8)


class Hidden(Rounded):
    """No gradient reaches its frames, and nothing goes round what stops it."""

    @torch.no_grad()
    def forward(self, frames):
        return self.inner(frames)


def test_masks_before_frames(events):
    """A mask before the first layer is gone round; one inside leaves no number, and not a high one."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = PlainNet()
    config = quick(battery="quick", trials=(), eps=0.5, samples=20)
    bare, rounded, hidden = (
        sp.audit(each, events.test, config, show=False) for each in (net, Rounded(net), Hidden(net))
    )
    assert bare.worst_case.accuracy == 0 < bare.clean.accuracy
    assert rounded.no_number is None and rounded.worst_case.accuracy == 0
    assert hidden.no_number is not None and hidden.no_number in hidden.warnings


def test_a_network_of_images_is_told_about_frames(events, refuses):
    shape = {"num_classes": 10, "image_size": 12, "in_channels": 2}
    model = sp.create_model("conv", num_steps=STEPS, **shape)
    with refuses("takes images of 2x12x12", "6x2x12x12", "coding Frames"):
        sp.audit(model, events.test, quick(), show=False)
    with refuses("digits-events", "num_steps=6, coding=Frames()"):
        sp.train(model, events, show=False)
