"""What users of other libraries believe, and what is so: tutorials' networks under four tools.

    python examples/other_tools.py                # about ten minutes; a table in Markdown, in runs/other_tools.md, too
    python examples/other_tools.py --harden 1     # fine-tunes each for a minute, and audits it again
    python examples/other_tools.py --data cifar10 # SpikingJelly's tutorial and a VGG11 of its, 10,000 images

Each network is its library's own tutorial, made small for scikit-learn's digits (8 x 8 pixels), and trained by that
tutorial's own loop. Then it meets the projected gradient descent of Foolbox, of ART and of Torchattacks, each with its
default settings, and this library's audit. All attack the same test images in the same ball (Linf 0.1, on CIFAR-10
8/255). The other tools get the wrapper that their users write: it resets the state, runs the steps and returns logits.

Needs `make peers`, `pip install six` and `pip install --no-deps adversarial-robustness-toolbox torchattacks`. What is
missing is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeproof as sp

EPS = {"digits": 0.1, "cifar10": 8 / 255}


@dataclasses.dataclass(frozen=True)
class Tutorial:
    """A network as its library's tutorial makes and trains it.

    Attributes:
        source: which tutorial.
        net: the trained module, as its users have it.
        wrapped: what these users would hand to another tool: images [N,1,8,8] to logits [N,10].
        adapted: the same through ``sp.adapt``.
    """

    source: str
    net: nn.Module
    wrapped: nn.Module
    adapted: nn.Module


class Wrapped(nn.Module):
    """A network and the function that its users call it by."""

    def __init__(self, net: nn.Module, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, images: Tensor) -> Tensor:
        return self.call(images)


def batches(images: Tensor, labels: Tensor, *, size: int, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, for some epochs."""
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(size):
            yield images[chosen], labels[chosen]


def by_spikingjellys_loop(source: str, net: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """A network for T=4, trained as in its tutorial: SGD on the mean squared error of the firing rates."""
    from spikingjelly.activation_based import functional

    steps = 4
    functional.set_step_mode(net, "m")

    def call(images: Tensor) -> Tensor:
        functional.reset_net(net)
        rates: Tensor = net(images.unsqueeze(0).repeat(steps, 1, 1, 1, 1)).mean(0)
        return rates

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(images) / 128))
    for batch, target in batches(images, labels, size=128, epochs=epochs):
        optimizer.zero_grad()
        F.mse_loss(call(batch), F.one_hot(target, 10).float()).backward()
        optimizer.step()
        schedule.step()
    functional.reset_net(net)
    return Tutorial(source, net, Wrapped(net, call), sp.adapt(net, num_steps=steps))


def spikingjelly(images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """SpikingJelly, "Convolutional SNN for Fashion-MNIST": two convolutions, two linear layers, IF neurons."""
    from spikingjelly.activation_based import layer, neuron, surrogate

    colours, side, width = images.shape[1], images.shape[2], 32
    flat = width * (side // 4) ** 2
    fire = lambda: neuron.IFNode(surrogate_function=surrogate.ATan())  # noqa: E731
    net = nn.Sequential(
        layer.Conv2d(colours, width, 3, padding=1, bias=False), layer.BatchNorm2d(width), fire(),
        layer.MaxPool2d(2, 2),
        layer.Conv2d(width, width, 3, padding=1, bias=False), layer.BatchNorm2d(width), fire(),
        layer.MaxPool2d(2, 2),
        layer.Flatten(), layer.Linear(flat, 128, bias=False), fire(),
        layer.Linear(128, 10, bias=False), fire(),
    )  # fmt: skip
    return by_spikingjellys_loop("SpikingJelly, conv_fashion_mnist", net, images, labels, epochs)


def spikingjelly_vgg(images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """SpikingJelly's VGG11 with batch norm, layer by layer as its model zoo makes it, at an eighth of its width.

    One linear layer reads it, as is usual for 32 x 32 pixels. The zoo's own file needs torchvision.
    """
    from spikingjelly.activation_based import layer, neuron, surrogate

    layers, channels = [], images.shape[1]
    for width in (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        if isinstance(width, str):
            layers.append(layer.MaxPool2d(2, 2))
            continue
        fire = neuron.IFNode(surrogate_function=surrogate.ATan(), detach_reset=True)
        layers += [layer.Conv2d(channels, width, 3, padding=1), layer.BatchNorm2d(width), fire]
        channels = width
    net = nn.Sequential(*layers, layer.Flatten(), layer.Linear(channels, 10))
    return by_spikingjellys_loop("SpikingJelly, VGG11", net, images, labels, epochs)


def snntorch(images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """snnTorch, tutorial 5: two layers of leaky neurons, 25 steps, the cross-entropy of every step's potentials."""
    import snntorch as snn

    steps = 25

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(64, 1000), snn.Leaky(beta=0.95)
            self.fc2, self.lif2 = nn.Linear(1000, 10), snn.Leaky(beta=0.95)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spikes, potentials = [], []
            for _ in range(steps):
                spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
                potentials.append(mem2)
            return torch.stack(spikes), torch.stack(potentials)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4, betas=(0.9, 0.999))
    for batch, target in batches(images, labels, size=128, epochs=epochs):
        potentials = net(batch)[1]
        loss = sum(F.cross_entropy(step, target) for step in potentials)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    call = lambda images: net(images)[0].sum(0)  # noqa: E731
    adapted = sp.adapt(net, num_steps=steps, output=0, reads="sum")
    return Tutorial("snnTorch, tutorial 5", net, Wrapped(net, call), adapted)


def norse(images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """Norse, its README's network: LIF cells and a leaky readout, whose largest potential is the logit."""
    import norse.torch as norse

    steps = 16
    net = norse.SequentialState(
        nn.Conv2d(1, 20, 3, padding=1), norse.LIFCell(), nn.MaxPool2d(2, 2),
        nn.Conv2d(20, 50, 3, padding=1), norse.LIFCell(), nn.MaxPool2d(2, 2),
        nn.Flatten(), nn.Linear(200, 10), norse.LICell(),
    )  # fmt: skip

    def call(images: Tensor) -> Tensor:
        state, potentials = None, []
        for _ in range(steps):
            potential, state = net(images, state)
            potentials.append(potential)
        return torch.stack(potentials).amax(0)

    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for batch, target in batches(images, labels, size=128, epochs=epochs):
        loss = F.nll_loss(F.log_softmax(call(batch), 1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Tutorial("Norse, README", net, Wrapped(net, call), sp.adapt(net, num_steps=steps, reads="max"))


def sinabs(images: Tensor, labels: Tensor, epochs: int) -> Tutorial:
    """sinabs, "Convert an ANN to an SNN": a network with ReLU is trained, and its weights move to spiking layers."""
    from sinabs.from_torch import from_model

    steps = 16
    ann = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2, 2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2, 2),
        nn.Flatten(), nn.Linear(128, 64, bias=False), nn.ReLU(), nn.Linear(64, 10, bias=False),
    )  # fmt: skip
    optimizer = torch.optim.Adam(ann.parameters(), lr=1e-3)
    for batch, target in batches(images, labels, size=128, epochs=epochs):
        optimizer.zero_grad()
        F.cross_entropy(ann(batch), target).backward()
        optimizer.step()
    net = from_model(ann, input_shape=(1, 8, 8), num_timesteps=steps).spiking_model

    def call(images: Tensor) -> Tensor:
        for module in net.modules():
            if hasattr(module, "reset_states"):
                module.reset_states()
        merged = net(images.repeat_interleave(steps, 0))
        return merged.unflatten(0, (-1, steps)).sum(1)

    return Tutorial("sinabs, weight transfer", net, Wrapped(net, call), sp.adapt(net, num_steps=steps, reads="sum"))


TUTORIALS: dict[str, tuple[str, Callable[..., Tutorial]]] = {  # each with the module that it needs
    "spikingjelly": ("spikingjelly", spikingjelly),
    "snntorch": ("snntorch", snntorch),
    "norse": ("norse", norse),
    "sinabs": ("sinabs", sinabs),
    "spikingjelly_vgg": ("spikingjelly", spikingjelly_vgg),
}
ON = {"digits": ["spikingjelly", "snntorch", "norse", "sinabs"], "cifar10": ["spikingjelly", "spikingjelly_vgg"]}


def right(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of the images that are classified rightly."""
    with torch.no_grad():
        return float((net(images).argmax(1) == labels).float().mean())


def foolbox(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    """Accuracy under Foolbox's LinfPGD: 40 steps of eps/30 from a random start."""
    import foolbox as fb

    attacked = fb.attacks.LinfPGD()(fb.PyTorchModel(net, (0, 1), "cpu"), images, labels, epsilons=eps)[1]
    return right(net, attacked, labels)


def art(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    """Accuracy under ART's ProjectedGradientDescent: 100 steps of 0.1 from the image itself."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), images.shape[1:], 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = ProjectedGradientDescent(classifier, eps=eps, verbose=False)
    return right(net, torch.from_numpy(attack.generate(images.numpy(), labels.numpy())), labels)


def torchattacks(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    """Accuracy under Torchattacks' PGD: 10 steps of 2/255 from a random start."""
    import torchattacks as ta

    return right(net, ta.PGD(net, eps=eps)(images, labels), labels)


TOOLS: dict[str, tuple[str, Callable[[nn.Module, Tensor, Tensor, float], float]]] = {
    "Foolbox": ("foolbox", foolbox),
    "ART": ("art", art),
    "Torchattacks": ("torchattacks", torchattacks),
}


def row(
    make: Callable[..., Tutorial], data: sp.Data, eps: float, *, samples: int, epochs: int, seed: int, minutes: float
) -> dict[str, Any]:
    """One network: trained, attacked by every tool that is installed, audited; after hardening audited again."""
    torch.manual_seed(seed)
    tutorial = make(data.train.images.float() / 255, data.train.labels, epochs)
    tutorial.wrapped.eval()
    chosen = data.test.part(samples)  # those that the audit takes
    images, labels = data.test.images[chosen].float() / 255, data.test.labels[chosen]
    cells: dict[str, Any] = {"network": tutorial.source, "seed": seed, "clean": right(tutorial.wrapped, images, labels)}
    for tool, (module, attack) in TOOLS.items():
        if importlib.util.find_spec(module):
            cells[tool] = attack(tutorial.wrapped, images, labels, eps)
    config = sp.AuditConfig(eps=eps, samples=samples, seed=seed)
    if minutes:
        hardened = sp.harden(tutorial.adapted, data, eps=eps, minutes=minutes, config=config, seed=seed, show=False)
        found, after = hardened.before, hardened.after if hardened.kept else None
    else:
        found, after = sp.audit(tutorial.adapted, data.test, config), None
    cells |= {"PGD-20": found.protocol.accuracy, "worst case": worst(found), "flags": flags(found)}
    if minutes and after is None:
        cells["hardened, clean"] = cells["hardened, worst case"] = "weights taken back"
    if after is not None:
        cells |= {"hardened, clean": after.clean.accuracy, "hardened, worst case": worst(after)}
        cells["hardened, flags"] = flags(after)
    return cells


def worst(found: sp.Audit) -> float | str:
    """The worst case, if the audit has one."""
    return "none" if found.no_number else found.worst_case.accuracy


def flags(found: sp.Audit) -> str:
    """The names of the raised ones."""
    return ", ".join(flag.name for flag in found.flags if flag.raised) or "none"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", choices=ON, default="digits")
    options.add_argument("--networks", nargs="+", choices=TUTORIALS, help="by default those made for the data")
    options.add_argument("--samples", type=int, default=200)
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--seeds", nargs="+", type=int, default=[0])
    options.add_argument("--harden", type=float, default=0, metavar="MINUTES")
    options.add_argument("--out", type=Path, default=Path("runs/other_tools.md"))
    given = options.parse_args()
    data = sp.load_data(given.data, validation=200, train_limit=10_000 if given.data == "cifar10" else None)
    rows = []
    for name in given.networks or ON[given.data]:
        library, make = TUTORIALS[name]
        if importlib.util.find_spec(library) is None:
            print(f"{library} is not installed; {name} is left out.", file=sys.stderr)
            continue
        sizes = {"samples": given.samples, "epochs": given.epochs, "minutes": given.harden}
        for seed in given.seeds:
            rows.append(row(make, data, EPS[given.data], seed=seed, **sizes))
            print(rows[-1], flush=True)
    columns = list(dict.fromkeys(column for each in rows for column in each))
    shown = lambda cell: f"{100 * cell:.1f}" if isinstance(cell, float) else str(cell)  # noqa: E731
    lines = [columns, ["---"] * len(columns), *([shown(each.get(column, "-")) for column in columns] for each in rows)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    print(given.out.read_text())


if __name__ == "__main__":
    main()
