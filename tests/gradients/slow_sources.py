"""Every gradient source once more, slow and literal: T copies of the image, and Python loops over layers and steps.

Written from the text of the papers' methods, not from our sources: of the network under test only weights, strides and
the neuron's description are read. A *rule* turns a layer's currents, a list with one tensor [N, C, ...] for each step,
into its spikes, and is differentiable the way its method says::

    gradient(model, images, labels, rule)      by the T copies of every image, summed over the copies
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy, linear

from spikeproof.models.wide_resnet import PreActivationBlock
from spikeproof.spiking import Site


def gradient(model, images, labels, rule, noise=None):
    """(d CE(mean of logits) / d image, logits): the sum of the gradients by the copies, and the rule's own logits."""
    by_copy, logits = gradient_by_copy(model, images, labels, rule, noise)
    return sum(by_copy), logits


def gradient_by_copy(model, images, labels, rule, noise=None):
    """The same with the gradient by each copy apart; ``noise`` of a layer's currents gives a tensor for each step."""
    copies = [images.detach().clone().requires_grad_() for _ in range(rule.copies(model.num_steps))]
    network = Network(rule, noise)
    z = network(model.stem, [(copy - model.mean) / model.std for copy in copies])
    z = network(model.body, z)
    logits = sum(z) / len(z)
    loss = cross_entropy(logits.float(), labels, reduction="sum")  # in float32, as attacks have it
    return torch.autograd.grad(loss, copies), logits.detach()


class Network:
    """The layers of a network, run one after another and step by step; every neuron by ``rule``."""

    def __init__(self, rule, noise=None):
        self.rule, self.noise, self.layer = rule, noise, 0

    def __call__(self, module, x):
        if isinstance(module, nn.Sequential):
            for part in module:
                x = self(part, x)
            return x
        if isinstance(module, nn.Conv2d):
            return [conv2d(step, module.weight, module.bias, module.stride, module.padding) for step in x]
        if isinstance(module, nn.Linear):
            return [linear(step, module.weight, module.bias) for step in x]
        if isinstance(module, nn.Flatten):
            return [step.flatten(1) for step in x]
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return [step.mean((2, 3), keepdim=True) for step in x]
        if isinstance(module, PreActivationBlock):
            a = self(module.site_in, x)
            h = self(module.conv_out, self(module.site_out, self(module.conv_in, a)))
            skip = x if module.skip is None else self(module.skip, a)
            c0, c1 = module.weights
            return [c0 * left + c1 * right for left, right in zip(skip, h, strict=True)]
        assert isinstance(module, Site), module
        return self.spikes(module, x)

    def spikes(self, site, x):
        norm = site.norm
        if norm is not None:  # in eval mode an affine map of every channel
            deviation = (norm.running_var + norm.eps).sqrt()
            parts = (norm.running_mean, deviation, norm.weight, norm.bias)
            mean, deviation, weight, bias = (part.detach().view(-1, 1, 1) for part in parts)
            x = [(step - mean) / deviation * weight + bias for step in x]
        noise = None if self.noise is None or not self.rule.spiking else self.noise(x)
        fired = self.rule(self.layer, site.neuron, x, noise)
        self.layer += 1
        return fired if site.pool == 1 else [avg_pool2d(step, site.pool) for step in fired]


class Spike(torch.autograd.Function):
    """s = 1[v >= 0]; ds/dv is said to be ``slope``."""

    @staticmethod
    def forward(ctx, v, slope):
        ctx.save_for_backward(slope)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


class Rule:
    """u_t = tau m_{t-1} + x_t,  s_t = 1[u_t - V >= 0],  m_t = (1 - s_t) u_t."""

    spiking = True
    carried_is_detached = False

    def copies(self, steps):
        return steps

    def __call__(self, layer, neuron, x, noise):
        m, spikes, potentials = torch.zeros_like(x[0]), [], []
        for t in range(len(x)):
            before = m.detach() if self.carried_is_detached else m
            u = neuron.decay * before + x[t]
            potentials.append(u.detach())
            v = u - neuron.threshold
            fires_at = v if noise is None else v + noise[t]
            s = Spike.apply(fires_at, self.slope(layer, t, fires_at.detach(), potentials))
            m = (1 - (s.detach() if neuron.detach_reset else s)) * u
            spikes.append(s)
        return spikes


class SlowBptt(Rule):
    """Autograd through the recurrence and the reset, with h of any shape."""

    def __init__(self, h):
        self.h = h

    def slope(self, layer, t, v, potentials):
        return self.h(v)


def triangle(gamma):
    return lambda v: torch.where(v.abs() < gamma, (gamma - v.abs()) / gamma**2, 0.0)


def rectangle(gamma):
    return lambda v: torch.where(v.abs() < gamma / 2, torch.ones_like(v) / gamma, 0.0)


def exponential(a, b):
    return lambda v: a * torch.exp(-b * v.abs())


def straight_through(v):
    return torch.ones_like(v)


def logistic(a):
    return lambda v: a * torch.sigmoid(a * v) * torch.sigmoid(-a * v)


def arctan(a):
    return lambda v: a / 2 / (1 + (math.pi / 2 * a * v) ** 2)


class SlowHart(SlowBptt):
    """The gradient by the neuron's input is averaged over T and broadcast; the membrane carried on is detached."""

    carried_is_detached = True

    def __init__(self, gamma):
        super().__init__(triangle(gamma))

    def __call__(self, layer, neuron, x, noise):
        return super().__call__(layer, neuron, AverageBack.apply(torch.stack(x)).unbind(0), noise)


class AverageBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        total = torch.zeros_like(grad[0])
        for t in range(len(grad)):
            total = total + grad[t]
        return torch.stack([total / len(grad) for _ in range(len(grad))])


class SlowPdsg(Rule):
    """A Gaussian at +s/2 of deviation s: the unbiased one of a channel's potentials of steps 1..t, or 1 where it is 0.

    The text does not say whether it is biased; unbiased is what ours states, and what ``torch.std`` gives.
    """

    def slope(self, layer, t, v, potentials):
        slope = torch.empty_like(v)
        for c in range(v.shape[1]):
            seen = torch.cat([u[:, c].flatten() for u in potentials]).tolist()
            mean = math.fsum(seen) / len(seen)
            variance = math.fsum((u - mean) ** 2 for u in seen) / max(len(seen) - 1, 1)
            s = math.sqrt(variance) if variance > 0 else 1.0
            slope[:, c] = torch.exp(-((v[:, c] - 0.5 * s) ** 2) / (2 * s**2)) / (math.sqrt(2 * math.pi) * s)
        return slope


class SlowAssg(Rule):
    """M <- bM + (1-b)a,  D <- bD + (1-b)|a - M|,  alpha = w/(M + relax D + 1e-4);  h is the arctan of alpha."""

    def __init__(self, half_mass=0.43, momentum=0.9, relax=1.5):
        self.omega, self.b, self.relax = 2 * math.tan(math.pi * half_mass) / math.pi, momentum, relax
        self.averages, self.alpha, self.held = {}, {}, False

    def slope(self, layer, t, v, potentials):
        key = layer, t
        if not self.held:
            mean, spread = self.averages.get(key, (torch.ones_like(v), torch.zeros_like(v)))
            mean = self.b * mean + (1 - self.b) * v.abs()
            spread = self.b * spread + (1 - self.b) * (v.abs() - mean).abs()
            self.averages[key] = mean, spread
            self.alpha[key] = self.omega / (mean + self.relax * spread + 1e-4)
        return arctan(self.alpha[key])(v)


class Gained(torch.autograd.Function):
    """dL/dx_t = dL/ds_t * gain, step by step."""

    @staticmethod
    def forward(ctx, x, spikes, gain):
        ctx.save_for_backward(gain)
        return spikes.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.stack([grad[t] * ctx.saved_tensors[0] for t in range(len(grad))]), None, None


class ByRate(Rule):
    def slope(self, layer, t, v, potentials):
        return torch.zeros_like(v)

    def __call__(self, layer, neuron, x, noise):
        spikes = torch.stack(super().__call__(layer, neuron, [step.detach() for step in x], noise))
        stacked = torch.stack(list(x))
        return Gained.apply(stacked, spikes, self.gain(neuron, stacked.detach(), spikes)).unbind(0)


class SlowBptr(ByRate):
    """The gradient goes to the neurons that fired at all."""

    def gain(self, neuron, x, spikes):
        rate = sum(spikes) / len(spikes)
        return torch.where(rate > 0, torch.ones_like(rate), 0.0)


@dataclasses.dataclass
class SlowRga(ByRate):
    """The gain of a leaky neuron of threshold 1; of an integrate-and-fire neuron of any."""

    g: float = 0.2

    def gain(self, neuron, x, spikes):
        mean = sum(x) / len(x)
        tau, one = neuron.decay, torch.ones_like(mean)
        if neuron.threshold != 1:
            assert tau == 1 and (mean != 0).all()
            inside = (mean >= 0) & (mean <= 2 * neuron.threshold)
            return torch.where(inside, one / (2 * neuron.threshold), 0.0)
        gain = torch.where((1 - tau <= mean) & (mean <= 2), one * (1 - self.g + self.g * tau) / (tau + 1), 0.0)
        return gain + torch.where((mean >= 0) & (mean <= 1 - tau), one * self.g, 0.0)


class SlowRelu(Rule):
    """An ordinary network, whose input is not replicated; ``V`` the threshold that currents are measured in."""

    spiking = False

    def copies(self, steps):
        return 1

    def __call__(self, layer, neuron, x, noise):
        return [torch.relu(step / neuron.threshold) for step in x]
