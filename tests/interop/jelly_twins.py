"""SpikingJelly's networks with the weights, the neurons and the surrogate of one of ours."""

import pytest
import torch
from torch import nn

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import layer, neuron, surrogate

from spikeproof.spiking import Neuron, sites

# (ours, its gain on the current, the same of SpikingJelly)
NEURONS = {
    "IF": (Neuron(), None, lambda **rest: neuron.IFNode(**rest)),
    "IF soft": (Neuron(reset="soft"), None, lambda **rest: neuron.IFNode(v_reset=None, **rest)),
    "IF detached": (Neuron(detach_reset=True), None, lambda **rest: neuron.IFNode(detach_reset=True, **rest)),
    "LIF": (Neuron(decay=0.5), 0.5, lambda **rest: neuron.LIFNode(tau=2.0, **rest)),
    "LIF own input": (Neuron(decay=0.75), None, lambda **rest: neuron.LIFNode(tau=4.0, decay_input=False, **rest)),
    "LIF soft detached": (
        Neuron(decay=0.5, reset="soft", detach_reset=True),
        None,
        lambda **rest: neuron.LIFNode(tau=2.0, decay_input=False, v_reset=None, detach_reset=True, **rest),
    ),
    "LIF low rest": (
        Neuron(decay=0.5),
        0.5,
        lambda **rest: neuron.LIFNode(tau=2.0, v_threshold=0.75, v_reset=-0.25, **rest),
    ),
    "simple LIF": (Neuron(decay=0.5), 0.5, lambda **rest: neuron.SimpleLIFNode(tau=2.0, decay_input=True, **rest)),
    "learned tau": (Neuron(decay=0.5), 0.5, lambda **rest: neuron.ParametricLIFNode(init_tau=2.0, **rest)),
}


def with_gain(model, gain):
    """The same network, its currents times a gain at every site."""
    for site in sites(model).values() if gain is not None else ():
        site.gain = nn.Parameter(torch.full((1, 1), gain, dtype=torch.float64), requires_grad=False)
    return model


def layers(model, make, step_mode):
    """SpikingJelly's layers for a stem and a body of one of ours, without its normalisation."""
    found = []
    for module in [*model.stem.modules(), *model.body.modules()]:
        if isinstance(module, nn.Conv2d):
            options = {"stride": module.stride, "padding": module.padding, "bias": module.bias is not None}
            made = layer.Conv2d(
                module.in_channels, module.out_channels, module.kernel_size, step_mode=step_mode, **options
            )
            made.to(module.weight).load_state_dict(module.state_dict())
        elif isinstance(module, nn.Linear):
            made = layer.Linear(module.in_features, module.out_features, step_mode=step_mode)
            made.to(module.weight).load_state_dict(module.state_dict())
        elif isinstance(module, nn.Flatten):
            made = layer.Flatten(step_mode=step_mode)
        elif module in sites(model).values():
            if module.norm is not None:
                norm = layer.BatchNorm2d(module.norm.num_features, step_mode=step_mode)
                norm.to(module.norm.weight).load_state_dict(module.norm.state_dict())
                found.append(norm)
            found.append(make(surrogate_function=surrogate.PiecewiseQuadratic(1.0), step_mode=step_mode))
            made = layer.AvgPool2d(module.pool, module.pool, step_mode=step_mode) if module.pool > 1 else None
        else:
            made = None
        if made is not None:
            found.append(made)
    return nn.Sequential(*found)


class Unrolled(nn.Module):
    """Repeats the image itself and averages over the steps, as SpikingJelly's examples do."""

    def __init__(self, inner, steps):
        super().__init__()
        self.inner, self.steps = inner, steps

    def forward(self, images):
        return self.inner(images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)).mean(0)
