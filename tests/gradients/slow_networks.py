"""``slow_sources`` for every coding, batch norm and network here: literal T copies, the frames of the steps given."""

import torch
from slow_sources import ByRate, Network
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from spikeproof.models import create_model
from spikeproof.models.current_norm import CurrentNorm
from spikeproof.models.resnet import Block
from spikeproof.models.sew_resnet import SEWBlock
from spikeproof.spiking import PerStepNorm

STEPS = 3


class EveryNetwork(Network):
    """Residual blocks that fire after the sum or add spikes, and batch norm of each step."""

    def __call__(self, module, x):
        if isinstance(module, Block | SEWBlock):
            h = self(module.site_in, self(module.conv_in, x))
            h = self(module.conv_out, h)
            h = self(module.norm_out if isinstance(module, Block) else module.site_out, h)
            skip = x if module.skip is None else self(module.skip, x)
            added = [left + right for left, right in zip(h, skip, strict=True)]
            return self(module.site_out, added) if isinstance(module, Block) else added
        if isinstance(module, CurrentNorm):
            return self.normed(module.norm, x)
        if isinstance(module, nn.AvgPool2d):
            return [avg_pool2d(step, module.kernel_size, module.stride, module.padding) for step in x]
        return super().__call__(module, x)

    def spikes(self, site, x):
        if site.norm is not None:
            x = self.normed(site.norm, x)
        fired = self.rule(self.layer, site.neuron, x, None)
        self.layer += 1
        return fired if site.pool == 1 else [avg_pool2d(step, site.pool) for step in fired]

    def normed(self, norm, x):
        if not isinstance(norm, PerStepNorm):
            return [by_channel(norm, step) for step in x]
        if len(x) == 1:  # the one copy of an ordinary network: the mean of what the steps make of it
            return [sum(by_channel(each, x[0]) for each in norm.steps) / len(norm.steps)]
        return [by_channel(each, step) for each, step in zip(norm.steps, x, strict=True)]


def by_channel(norm, x):
    deviation = (norm.running_var + norm.eps).sqrt()
    shape = (-1, *(1,) * (x.ndim - 2))
    mean, deviation, weight, bias = (
        part.detach().view(shape) for part in (norm.running_mean, deviation, norm.weight, norm.bias)
    )
    return (x - mean) / deviation * weight + bias


def literal(model, images, labels, rule, encode):
    """(d CE(mean of logits) / d image, logits) by the T frames that ``encode`` makes of the images, or their mean."""
    leaf = images.detach().clone().requires_grad_()
    frames = encode(leaf)
    frames = frames if rule.copies(len(frames)) == len(frames) else [sum(frames) / len(frames)]
    if model.coding.normalised:
        frames = [(frame - model.mean) / model.std for frame in frames]
    network = EveryNetwork(rule)
    z = network(model.stem, frames)
    z = network(model.body, z)
    logits = sum(z) / len(z)
    loss = cross_entropy(logits.float(), labels, reduction="sum")  # in float32, as attacks have it
    return torch.autograd.grad(loss, leaf)[0], logits.detach()


def copies(images):
    """Direct coding."""
    return [images for _ in range(STEPS)]


class SlowMeanSlope(ByRate):
    """HART where the gradients of the steps differ, as ours states it: each takes the mean slope."""

    def __init__(self, h):
        self.h = h

    def __call__(self, layer, neuron, x, noise):
        self.margins = []
        return super().__call__(layer, neuron, x, noise)

    def slope(self, layer, t, v, potentials):
        self.margins.append(v)
        return torch.zeros_like(v)

    def gain(self, neuron, x, spikes):
        return sum(self.h(v) for v in self.margins) / len(self.margins)


def awake(name, *, batch_norm="merged", coding=None, neuron=None, kernels="reference"):
    """A float64 network whose every layer fires, by norms of many scales and shifts; unseen images; labels."""
    torch.manual_seed(0)
    size, channels, width = {"conv": (8, 1, 0.3), "wrn16": (8, 3, 0.1)}.get(name, (8, 3, 0.05))
    options = {"num_steps": STEPS, "image_size": size, "in_channels": channels, "width": width, "kernels": kernels}
    model = create_model(name, num_classes=4, neuron=neuron, batch_norm=batch_norm, coding=coding, **options).double()
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
    return model.eval(), images, torch.tensor([0, 1, 2, 3])
