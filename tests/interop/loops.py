"""Networks as papers and tutorials write them, with the layers of one of ours: a loop over steps, states by hand."""

import torch
from torch import nn

from spikeproof.spiking import sites


def layers(model, make):
    """Ordinary layers for a stem and a body of one of ours; ``make()`` gives each spiking layer."""
    found = []
    for module in [*model.stem.modules(), *model.body.modules()]:
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Flatten):
            found.append(module)
        elif module in sites(model).values():
            found += [module.norm] if module.norm is not None else []
            found += [make()]
            found += [nn.AvgPool2d(module.pool)] if module.pool > 1 else []
    return found


class Loop(nn.Module):
    """Unrolls itself; spiking layers take a state and give another; logits of every step, [T, N, K]."""

    def __init__(self, parts, spiking, steps):
        super().__init__()
        self.parts, self.spiking, self.steps = nn.ModuleList(parts), spiking, steps

    def forward(self, images):
        states, outputs = {}, []
        for _ in range(self.steps):
            x = images
            for place, part in enumerate(self.parts):
                if isinstance(part, self.spiking):
                    x, states[place] = part(x, states.get(place))
                else:
                    x = part(x)
            outputs.append(x)
        return torch.stack(outputs)


class Fire(torch.autograd.Function):
    """A paper's own spike: 1 at and above the threshold, a triangle backward."""

    @staticmethod
    def forward(ctx, margin, width):
        ctx.save_for_backward(margin)
        ctx.width = width
        return (margin >= 0).to(margin.dtype)

    @staticmethod
    def backward(ctx, grad):
        (margin,) = ctx.saved_tensors
        return grad * (ctx.width - margin.abs()).clamp_min(0) / ctx.width**2, None


class CallsFunction(nn.Module):
    """As SNN-RAT has it: merged steps come in, the class's apply is called in the loop."""

    def __init__(self, steps, decay=1.0):
        super().__init__()
        self.steps, self.decay = steps, decay

    def forward(self, merged):
        potential, spikes = 0, []
        for current in merged.unflatten(0, (self.steps, -1)):
            potential = self.decay * potential + current
            spikes.append(Fire.apply(potential - 1.0, 1.0))
            potential = (1 - spikes[-1]) * potential
        return torch.stack(spikes).flatten(0, 1)


fire = Fire.apply


class CallsByName(CallsFunction):
    """As tutorials have it: the class's apply has a global name."""

    def forward(self, merged):
        potential, spikes = 0, []
        for current in merged.unflatten(0, (self.steps, -1)):
            potential = self.decay * potential + current
            spikes.append(fire(potential - 1.0, 1.0))
            potential = (1 - spikes[-1]) * potential
        return torch.stack(spikes).flatten(0, 1)


class HoldsFunction(nn.Module):
    """As TET has it: the function is an attribute, steps come second."""

    def __init__(self, steps, decay=1.0):
        super().__init__()
        self.act, self.decay = Fire.apply, decay

    def forward(self, currents):
        potential, spikes = 0, []
        for step in range(currents.shape[1]):
            potential = self.decay * potential + currents[:, step]
            spikes.append(self.act(potential - 1.0, 1.0))
            potential = (1 - spikes[-1]) * potential
        return torch.stack(spikes, 1)


class Merged(nn.Module):
    """Repeats the images along merged steps, time first."""

    def __init__(self, inner, steps):
        super().__init__()
        self.inner, self.steps = inner, steps

    def forward(self, images):
        return self.inner(images.repeat(self.steps, 1, 1, 1)).unflatten(0, (self.steps, -1)).mean(0)


class StepsSecond(nn.Module):
    """Every ordinary layer works on [N*T, ...], every spiking one on [N, T, ...]; gives [N, T, K]."""

    def __init__(self, parts, steps):
        super().__init__()
        self.parts, self.steps = nn.ModuleList(parts), steps

    def forward(self, images):
        x = images.unsqueeze(1).repeat(1, self.steps, 1, 1, 1)
        for part in self.parts:
            x = part(x) if isinstance(part, HoldsFunction) else part(x.flatten(0, 1)).unflatten(0, (-1, self.steps))
        return x
