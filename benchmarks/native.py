"""Steps of a network of SpikingJelly and of snnTorch: as it is adapted, and with ``adapt(net, native=True)``.

Both have the weights of our network at the same time, in one process and in turn: a training step (forward, backward,
all gradients) and an attack step (one gradient of frozen weights), by the network's own surrogate and by ASSG.

    python benchmarks/native.py --threads 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from measure import alternate, environment
from peers import snntorch_loop, spikingjelly
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import spikeproof as sp
from spikeproof.attacks import Crafting, crafting
from spikeproof.attacks.objective import cross_entropy_of

_LIBRARIES = {"SpikingJelly": spikingjelly, "snnTorch": snntorch_loop}
_SOURCES = {"BPTT": sp.BPTT(), "ASSG": sp.ASSG()}


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.train().zero_grad()
        cross_entropy(model(images), labels).backward()

    return step


def attack_step(model: nn.Module, images: Tensor, labels: Tensor, source: sp.GradientSource) -> Callable[[], None]:
    def step() -> None:
        with crafting(model, Crafting(source=source)) as craft:
            craft.gradient(images, cross_entropy_of(labels, known=True))

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("vgg11", "wrn16"), default="vgg11")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = sp.create_model(asked.network, num_classes=10, image_size=32, width=asked.width, num_steps=asked.steps)
    torch.manual_seed(0)
    images = torch.rand(asked.batch, 3, 32, 32).to(device)
    labels = torch.randint(0, 10, (asked.batch,)).to(device)
    print(environment(device), vars(asked))
    print(f"{'':34}{'adapted':>10}{'native':>10}{'ratio':>8}")
    for name, make in _LIBRARIES.items():
        models = {
            way: sp.adapt(make(ours).network.to(device), num_steps=asked.steps, native=way == "native")
            for way in ("adapted", "native")
        }
        calls = {f"{way}/training": training_step(model, images, labels) for way, model in models.items()}
        for word, source in _SOURCES.items():
            calls |= {
                f"{way}/attack, {word}": attack_step(each, images, labels, source) for way, each in models.items()
            }
        times = alternate(calls, asked.repeats)
        for what in ("training", *(f"attack, {word}" for word in _SOURCES)):
            before, after = (times[f"{way}/{what}"].median for way in models)
            print(f"{f'{name}: {what}':34}{1e3 * before:8.0f}ms{1e3 * after:8.0f}ms{after / before:8.2f}")


if __name__ == "__main__":
    main()
