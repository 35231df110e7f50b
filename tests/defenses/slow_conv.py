"""The "conv" network once more, written out layer by layer, with the neurons' dynamics left to the test."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, linear

from spikeproof.models import create_model
from spikeproof.spiking import Neuron

STEPS = 3


def awake_conv(*, neuron=None, seed=0):
    """A small "conv" in float64 and eval mode whose every layer fires, images, and labels."""
    torch.manual_seed(seed)
    options = {"num_classes": 4, "num_steps": STEPS, "image_size": 8, "in_channels": 1, "width": 0.3}
    model = create_model("conv", neuron=neuron or Neuron(), **options).double()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=3 / module.in_features**0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, 0.5, 0.1)
            nn.init.uniform_(module.weight, 0.7, 1.3)
    seen, images = torch.rand(2, 4, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        model.train()(seen)
    model.stem.requires_grad_(True)
    return model.eval(), images, torch.tensor([0, 1, 2, 3])


class SlowSpike(torch.autograd.Function):
    """1[v >= 0], backward by the triangle of half-width 1."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * (1 - v.abs()).clamp_min(0)


def slow_logits(model, frames, fire):
    """Logits in eval mode of frames [T, N, 1, 8, 8], as the network's affine layers get them.

    ``fire`` gets a site's name and its T currents, and gives its T spikes; all of them [N, C, ...].
    """
    held = dict(model.named_parameters()) | dict(model.named_buffers())

    def normed(name, x):
        mean, variance, weight, bias = (
            held[f"{name}.norm.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolved(name, x):
        return conv2d(x, held[f"{name}.weight"], held.get(f"{name}.bias"), padding=1)

    first = fire("body.0", [normed("body.0", convolved("stem", frame)) for frame in frames])
    first = [avg_pool2d(part, 2) for part in first]
    second = fire("body.2", [normed("body.2", convolved("body.1", part)) for part in first])
    second = [avg_pool2d(part, 2).flatten(1) for part in second]
    third = fire("body.5", [linear(part, held["body.4.weight"], held["body.4.bias"]) for part in second])
    return torch.stack([linear(part, held["body.6.weight"], held["body.6.bias"]) for part in third]).mean(0)


def channels_first(parameter):
    """[T, *space, C] of a site as [T, C, *space]."""
    return parameter.movedim(-1, 1)
