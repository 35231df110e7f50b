"""A masked model, caught: the same function as an honest one, with every potential moved away from its surrogate.

    python examples/masked_model.py      # two minutes; writes runs/masked/{honest,masked} and a report.html of both

All potentials and thresholds of a trained network are multiplied by 16 (batch norm's scale and shift, or the linear
layer's weights, and the threshold). Reset to zero, the neurons then fire exactly as before, so every logit is the same.
But the surrogate's width stays, and 15 of 16 potentials that it covered are outside now.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch
from torch import nn

import spikeproof as sp

FACTOR = 16.0


def inflate(model: nn.Module, factor: float) -> nn.Module:
    """The same function of the images, with potentials ``factor`` times as large."""
    inflated = copy.deepcopy(model)
    before: nn.Linear | None = None
    with torch.no_grad():
        for module in inflated.modules():
            if isinstance(module, nn.Linear):
                before = module
            if isinstance(module, sp.Site):
                module.neuron = dataclasses.replace(module.neuron, threshold=factor * module.neuron.threshold)
                driving = module.norm or before
                assert driving is not None
                driving.weight *= factor
                driving.bias *= factor
    return inflated


def main() -> None:
    data = sp.load_data("digits", validation=200)
    torch.manual_seed(0)
    honest = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=data.mean, std=data.std)
    sp.train(honest, data, config=sp.TrainConfig(epochs=20, precision="fp32", augmentation=None))
    masked = inflate(honest, FACTOR)
    images = data.test.images.float() / 255
    assert torch.equal(honest.eval()(images), masked.eval()(images)), "the masked model computes something else"
    config = sp.AuditConfig(eps=0.1, samples=200, sweep=(0.05, 0.2))
    folders = []
    for name, model in (("honest", honest), ("masked", masked)):
        folders.append(Path("runs/masked") / name)
        sp.audit(model, data.test, config, validation=data.validation).save(folders[-1])
    print(sp.write_report(folders, "runs/masked/report.html"))


if __name__ == "__main__":
    main()
