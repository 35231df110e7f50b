"""The gallery of the pages: small networks on digits, trained, masked, adapted and audited, and a report of each.

    python examples/gallery.py           # a minute of one core; writes docs/gallery/*.html
    python examples/gallery.py FOLDER    # writes them elsewhere

All images are scikit-learn's digits (8 x 8); Linf 0.1, n = 100 test images, seed 0, float32, as the pages say, too.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import spikeproof as sp
from spikeproof.recipes import certificate_folder
from spikeproof.report import read_runs

PAGES = Path(__file__).resolve().parents[1] / "docs" / "gallery"
COMMAND = "python examples/gallery.py"
EPS, CERTIFIED = 0.1, "0.2/255"


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to train, by how many minutes to harden, and what to audit; less of it for a test."""

    epochs: int = 15
    minutes: float = 0.5
    audit: sp.AuditConfig = dataclasses.field(
        default_factory=lambda: sp.AuditConfig(eps=EPS, samples=100, battery="quick", sweep=(0.05, 0.2))
    )


class Rounded(nn.Module):
    """A network behind 16 grey levels. A rounding has no slope, so the image has no gradient.

    Args:
        filtered: a layer with weights stands before the rounding. It changes nothing: it is the identity.
    """

    def __init__(self, inner: nn.Module, *, filtered: bool) -> None:
        super().__init__()
        self.inner = inner
        self.filter = nn.Conv2d(1, 1, 1, bias=False) if filtered else nn.Identity()
        for weight in self.filter.parameters():
            nn.init.ones_(weight)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(torch.round(self.filter(images) * 15) / 15)
        return logits


class Fire(torch.autograd.Function):
    """A spike where the potential reaches the threshold; backward a triangle."""

    @staticmethod
    def forward(ctx, margin):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(margin)
        return (margin >= 0).to(margin.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (margin,) = ctx.saved_tensors
        return grad * (1 - margin.abs()).clamp_min(0)


class Loop(nn.Module):
    """A network as many write it: linear layers, and the steps of a leaky neuron in a loop."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps, self.fc1, self.fc2 = steps, nn.Linear(64, 100), nn.Linear(100, 10)

    def forward(self, images: Tensor) -> Tensor:
        current = self.fc1(images.flatten(1))
        potential, logits = torch.zeros_like(current), torch.zeros(len(images), 10, device=images.device)
        for _ in range(self.steps):
            potential = 0.5 * potential + current
            spikes = Fire.apply(potential - 1.0)
            potential = potential * (1 - spikes)
            logits = logits + self.fc2(spikes)
        return logits / self.steps


def network(data: sp.Data) -> nn.Module:
    """A small convolutional SNN, not trained."""
    torch.manual_seed(0)
    shape = {"num_classes": 10, "image_size": 8, "in_channels": 1, "width": 0.5}
    return sp.create_model("conv", mean=data.mean, std=data.std, **shape)


def train_and_audit(data: sp.Data, defenses: list[sp.Defense], folder: Path, effort: Effort) -> nn.Module:
    """A run folder with an audit; the network."""
    model = network(data)
    config = sp.TrainConfig(epochs=effort.epochs, precision="fp32", augmentation=None)
    sp.train(model, data, defenses, config, out=folder, name=folder.name, command=COMMAND)
    sp.audit(model, data.test, effort.audit, validation=data.validation).save(folder, COMMAND)
    return model


def certify(model: nn.Module, data: sp.Data, folder: Path, effort: Effort) -> None:
    """What is proved of a run within a small radius, and an audit of the same images in the same ball."""
    near = dataclasses.replace(effort.audit, eps=CERTIFIED, sweep=())
    sp.audit(model, data.test, near, validation=data.validation).save(folder, COMMAND)
    config = sp.CertifyConfig(method="ibp", eps=CERTIFIED, samples=near.samples)
    sp.certify(model, data.test, config, command=COMMAND).save(certificate_folder(folder, config))


def mask_and_audit(honest: nn.Module, data: sp.Data, folder: Path, effort: Effort) -> list[Path]:
    """The network behind a rounding, and behind a layer with weights and a rounding: the same function twice."""
    folders = []
    for name, filtered in (("rounds its image", False), ("filters, then rounds", True)):
        folders.append(folder / name)
        found = sp.audit(Rounded(honest, filtered=filtered), data.test, effort.audit, validation=data.validation)
        found.save(folders[-1], COMMAND)
    return folders


def harden_own(data: sp.Data, folder: Path, effort: Effort) -> list[Path]:
    """A network in plain PyTorch, trained by a loop in plain PyTorch; adapted, and hardened."""
    torch.manual_seed(0)
    own, images, labels = Loop(), data.train.images.float() / 255, data.train.labels
    optimizer = torch.optim.Adam(own.parameters(), lr=5e-3)
    for _ in range(effort.epochs):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            cross_entropy(own(images[rows]), labels[rows]).backward()
            optimizer.step()
    net = sp.adapt(own, num_steps=own.steps, spikes=Fire)
    print(sp.harden(net, data, eps=EPS, minutes=effort.minutes, config=effort.audit, out=folder, command=COMMAND))
    return [folder / "before", folder]


def make(pages: Path, effort: Effort) -> list[Path]:
    """Write every page of the gallery."""
    data = sp.load_data("digits", validation=200)
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place)
        vanilla, at, at_sr = runs / "vanilla", runs / "AT", runs / "AT + SR"
        honest = train_and_audit(data, [], vanilla, effort)
        train_and_audit(data, [sp.AdversarialTraining(eps=EPS)], at, effort)
        robust = train_and_audit(data, [sp.AdversarialTraining(eps=EPS), sp.SR(strength=0.003)], at_sr, effort)
        compared = [run for folder in (vanilla, at, at_sr) for run in read_runs(folder)]
        certify(robust, data, at_sr, effort)
        return [
            sp.write_report([at_sr], pages / "one-run.html"),
            sp.write_report([vanilla, *mask_and_audit(honest, data, runs, effort)], pages / "masked.html"),
            sp.write_report(harden_own(data, runs / "hardened", effort), pages / "your-network.html"),
            sp.write_report(compared, pages / "side-by-side.html"),
        ]


if __name__ == "__main__":
    for page in make(Path(sys.argv[1]) if sys.argv[1:] else PAGES, Effort()):
        print(page)
