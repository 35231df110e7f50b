"""Small spiking networks whose every layer fires, and what is asked of them in these tests."""

import contextlib

import pytest
import torch
from torch import nn

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.audit import Tuned
from spikeproof.gradients import BPTR, HART, RGA, SOURCES
from spikeproof.models import create_model
from spikeproof.spiking import (
    inference_noise,
    sites,
)

STEPS = 3
# Of the largest entry of a gradient, in float64; 4e-15 was seen.
TIGHT = 5e-14

OF_RATES = [BPTR(), RGA(), HART(), HART(width=0.5)]
EVERY = [*(named.make(Tuned()) for named in SOURCES.values()), HART(width=0.5)]
every_source = pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)


def awake(name, neuron=None, dtype=torch.float64):
    """A network whose every layer fires, by batch norms of many scales and shifts; images it has not seen; labels."""
    torch.manual_seed(0)
    size, channels, width = {"conv": (8, 1, 0.3), "vgg11": (32, 3, 0.05), "wrn16": (16, 3, 0.1)}[name]
    options = {"num_steps": STEPS, "image_size": size, "in_channels": channels, "width": width}
    model = create_model(name, num_classes=4, neuron=neuron, **options).double()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=3 / module.in_features**0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, 0.5, 0.1)
            nn.init.uniform_(module.weight, 0.7, 1.3)
    seen, images = torch.rand(2, 4, channels, size, size, dtype=torch.float64)
    with torch.no_grad():
        model.train()(seen)
    return model.to(dtype).eval(), images.to(dtype), torch.tensor([0, 1, 2, 3])


def crafted(model, images, labels, **how):
    with crafting(model, Crafting(**how)) as craft:
        return craft.gradient(images, cross_entropy_of(labels))


def agree(found, expected, share=TIGHT):
    assert expected.dtype == torch.float64 and expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=share * expected.abs().max().item())


def alike(one, other):
    """The cosine of the angle between two gradients."""
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@contextlib.contextmanager
def noisy(model, std=0.25):
    for site in sites(model).values():
        site.noise_std = std
    with inference_noise(model, True):
        yield
