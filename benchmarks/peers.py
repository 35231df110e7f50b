"""The same networks as the rest of the field runs them, with our weights: SpikingJelly, snnTorch, a plain time loop.

Every peer normalises inside, repeats the image over T (direct coding) and returns the mean logits, so that it computes
what our model computes and only the way differs:

- (a) ``spikingjelly``: SpikingJelly 2.0.0 as its users run it: multi-step layers, eager, float32.
- (b) ``spikingjelly_best``: the same and everything we know to make it faster; see :func:`spikingjelly_best`.
- (c) ``snntorch``: snnTorch 1.0.0 as its users run it: a Python loop over T that calls every layer, eager, float32.
- (d) ``plain_loop``: convolutions on the merged [T*N] batch and a Python loop over T inside each neuron, as the code of
  SNN-RAT and its descendants does; eager, float32.

Shapes: T steps, N samples. The stem is what comes before the first neuron, the body is the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from spikeproof.models import SpikingModel

VGG11 = (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)
VGG11_HEAD = (4096, 4096)
WRN16_STAGES = ((64, 1), (128, 2), (256, 2))  # channels and stride of each pair of blocks


@dataclasses.dataclass(frozen=True)
class Contender:
    """A network to be measured and how to call it.

    Attributes:
        network: what holds the weights; put it in train or eval mode.
        call: images [N,3,32,32] to logits [N,K], from a fresh state.
        dtype: what the convolutions run in.
        freezes: whether an attack step runs with requires_grad off for the weights.
    """

    network: nn.Module
    call: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32
    freezes: bool = False


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a library offers to build a network from; the two layouts below are the same for all of them."""

    conv: Callable[..., nn.Module] = nn.Conv2d
    norm: Callable[..., nn.Module] = nn.BatchNorm2d
    linear: Callable[..., nn.Module] = nn.Linear
    pool: Callable[..., nn.Module] = nn.AvgPool2d
    pool_all: Callable[..., nn.Module] = nn.AdaptiveAvgPool2d
    flatten: Callable[..., nn.Module] = nn.Flatten
    neuron: Callable[[], nn.Module] = nn.Identity


def build_vgg11(parts: Parts, num_classes: int, width: float) -> tuple[nn.Sequential, nn.Sequential]:
    """SNN-RAT's VGG11 for 32x32 images: stem and body."""
    layers: list[nn.Module] = []
    channels, size = 3, 32
    for entry in VGG11:
        if entry == "A":
            layers.append(parts.pool(2))
            size //= 2
        else:
            outer = round(int(entry) * width)
            layers += [parts.conv(channels, outer, 3, padding=1), parts.norm(outer), parts.neuron()]
            channels = outer
    features = channels * size * size
    layers.append(parts.flatten())
    for entry in VGG11_HEAD:
        hidden = round(entry * width)
        layers += [parts.linear(features, hidden), parts.neuron()]
        features = hidden
    layers.append(parts.linear(features, num_classes))
    return nn.Sequential(*layers[:2]), nn.Sequential(*layers[2:])


class Block(nn.Module):
    """WRN16's pre-activation block; the first one's norm is in the stem, where it is computed before any neuron."""

    def __init__(self, parts: Parts, inner: int, outer: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.norm_in = nn.Identity() if first else parts.norm(inner)
        self.neuron_in = parts.neuron()
        self.conv_in = parts.conv(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.norm_out = parts.norm(outer)
        self.neuron_out = parts.neuron()
        self.conv_out = parts.conv(outer, outer, 3, padding=1, bias=False)
        same = inner == outer and stride == 1
        self.skip = None if same else parts.conv(inner, outer, 1, stride=stride, bias=False)
        self.weights = nn.Parameter(torch.tensor([0.5, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        a = self.neuron_in(self.norm_in(x))
        h = self.conv_out(self.neuron_out(self.norm_out(self.conv_in(a))))
        skip = x if self.skip is None else self.skip(a)
        return self.weights[0] * skip + self.weights[1] * h


def build_wrn16(parts: Parts, num_classes: int, width: float) -> tuple[nn.Sequential, nn.Sequential]:
    """SNN-RAT's WRN-16-4: stem and body."""
    channels = round(16 * width)
    stem = nn.Sequential(parts.conv(3, channels, 3, padding=1, bias=False), parts.norm(channels))
    blocks: list[nn.Module] = []
    for base, stride in WRN16_STAGES:
        outer = round(base * width)
        blocks.append(Block(parts, channels, outer, stride, first=not blocks))
        blocks.append(Block(parts, outer, outer, 1, first=False))
        channels = outer
    tail = [parts.norm(channels), parts.neuron(), parts.pool_all(1), parts.flatten()]
    return stem, nn.Sequential(*blocks, *tail, parts.linear(channels, num_classes))


BUILDERS = {"vgg11": build_vgg11, "wrn16": build_wrn16}


class Network(nn.Module):
    """Normalise, then the stem and body of one of the builders; how time is run is the subclasses' matter."""

    def __init__(self, model: SpikingModel, parts: Parts) -> None:
        super().__init__()
        said = model.description
        self.stem, self.body = BUILDERS[said.name](parts, said.num_classes, said.width)
        self.num_steps = said.num_steps
        self.register_buffer("mean", model.mean.detach().clone())
        self.register_buffer("std", model.std.detach().clone())
        copy_weights(model, self)

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class MultiStep(Network):
    """Every layer takes [T,N,...]."""

    def forward(self, images: Tensor) -> Tensor:
        repeated = self.normalise(images).unsqueeze(0).repeat(self.num_steps, 1, 1, 1, 1)
        return self.body(self.stem(repeated)).mean(0)


class MultiStepStemOnce(Network):
    """The stem on [N,...], once, its current repeated to [T,N,...]."""

    def forward(self, images: Tensor) -> Tensor:
        current = self.stem(self.normalise(images).contiguous(memory_format=torch.channels_last))
        return self.body(current.unsqueeze(0).repeat(self.num_steps, 1, 1, 1, 1)).mean(0)


class MergedSteps(Network):
    """Every layer takes [T*N,...]."""

    def forward(self, images: Tensor) -> Tensor:
        repeated = self.normalise(images).repeat(self.num_steps, 1, 1, 1)
        return self.body(self.stem(repeated)).unflatten(0, (self.num_steps, -1)).mean(0)


class StepByStep(Network):
    """Every layer takes [N,...] and is called T times."""

    def forward(self, images: Tensor) -> Tensor:
        normalised = self.normalise(images)
        return torch.stack([self.body(self.stem(normalised)) for _ in range(self.num_steps)]).mean(0)


class TriangleSpike(torch.autograd.Function):
    """Fires at v >= 0; the derivative is the triangle max(0, gamma - |v|) / gamma^2."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.gamma = gamma
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        slope = (ctx.gamma - v.abs()).clamp(min=0) / ctx.gamma**2
        return gradient * slope, None


class LoopNeuron(nn.Module):
    """Un-merge [T*N,...], integrate and fire step by step in Python, merge; the reset stays in the graph."""

    def __init__(self, num_steps: int, tau: float = 1.0, gamma: float = 1.0) -> None:
        super().__init__()
        self.num_steps, self.tau, self.gamma = num_steps, tau, gamma

    def forward(self, merged: Tensor) -> Tensor:
        currents = merged.unflatten(0, (self.num_steps, -1))
        potential: Tensor | float = 0.0
        fired = []
        for step in range(self.num_steps):
            potential = potential * self.tau + currents[step]
            spikes = TriangleSpike.apply(potential - 1.0, self.gamma)
            potential = (1 - spikes) * potential
            fired.append(spikes)
        return torch.stack(fired).flatten(0, 1)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy convolutions, norms, linears and skip weights in order of ``modules()``; the networks are built alike."""
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        theirs = [module for module in source.modules() if isinstance(module, kind)]
        ours = [module for module in target.modules() if isinstance(module, kind)]
        assert len(theirs) == len(ours), f"{kind.__name__}: {len(theirs)} to copy to {len(ours)}"
        for given, taken in zip(theirs, ours, strict=True):
            taken.load_state_dict(given.state_dict())  # refuses another shape
    theirs = [module.weights for module in source.modules() if type(module).__name__ == "Block"]
    ours = [module.weights for module in target.modules() if type(module).__name__ == "Block"]
    with torch.no_grad():
        for given, taken in zip(theirs, ours, strict=True):
            taken.copy_(given)


def spikingjelly_parts(node: type[nn.Module] = neuron.IFNode) -> Parts:
    """SpikingJelly's multi-step layers; PiecewiseQuadratic(1) is our triangle with gamma 1.

    There is no ``backend`` to choose in 2.0.0: the same IFNode runs a kernel of its own on CUDA (native or Triton; the
    variable SJ_IF_CUDA_IMPLEMENTATION decides) and plain PyTorch on the CPU.
    """
    return Parts(
        conv=partial(layer.Conv2d, step_mode="m"),
        norm=partial(layer.BatchNorm2d, step_mode="m"),
        linear=partial(layer.Linear, step_mode="m"),
        pool=partial(layer.AvgPool2d, step_mode="m"),
        pool_all=partial(layer.AdaptiveAvgPool2d, step_mode="m"),
        flatten=partial(layer.Flatten, step_mode="m"),
        neuron=partial(
            node,
            v_threshold=1.0,
            v_reset=0.0,
            surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
            detach_reset=False,
            step_mode="m",
        ),
    )


def spikingjelly(model: SpikingModel) -> Contender:
    """(a) Eager, float32, the image repeated before the first layer."""
    network = MultiStep(model, spikingjelly_parts()).to(model.mean.device)

    def call(images: Tensor) -> Tensor:
        functional.reset_net(network)
        return network(images)

    return Contender(network, call)


def spikingjelly_best(model: SpikingModel, dtype: torch.dtype) -> Contender:
    """(b) The stem once, torch.compile of the whole network, autocast, channels_last, frozen in attacks.

    On the CPU the neuron is SpikingJelly's SimpleIFNode: of what the package offers, it is what Inductor fuses best (76
    ms a training step against IFNode's 82 for vgg11 at width .25, N=32, T=4; 46 against 47 an attack step).
    ``pack_conv_bn_train_modules`` (79 and 49 ms) gained nothing beyond noise, ``fuse_conv_bn_eval_modules`` is for
    weights that training no longer changes, store_v_seq is off by default, and ``memopt`` pays time for memory.
    """
    device = model.mean.device
    node = neuron.SimpleIFNode if device.type == "cpu" else neuron.IFNode
    network = MultiStepStemOnce(model, spikingjelly_parts(node)).to(device)
    functional.set_step_mode(network.stem, "s")
    network.to(memory_format=torch.channels_last)
    compiled = torch.compile(network)

    def call(images: Tensor) -> Tensor:
        functional.reset_net(network)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return compiled(images).float()

    return Contender(network, call, dtype, freezes=True)


def snntorch_loop(model: SpikingModel) -> Contender:
    """(c) Leaky with beta 1 and an immediate reset to zero; eager, float32."""
    leaky = partial(
        snntorch.Leaky,
        beta=1.0,
        threshold=1.0,
        spike_grad=lambda v: TriangleSpike.apply(v, 1.0),
        init_hidden=True,
        reset_mechanism="zero",
        reset_delay=False,
    )
    network = StepByStep(model, Parts(neuron=leaky)).to(model.mean.device)
    # snntorch.utils.reset looks at the direct children alone and would miss those inside a Sequential.
    leaky_layers = [module for module in network.modules() if isinstance(module, snntorch.Leaky)]

    def call(images: Tensor) -> Tensor:
        for module in leaky_layers:
            module.reset_mem()
        return network(images)

    return Contender(network, call)


def plain_loop(model: SpikingModel) -> Contender:
    """(d) Eager, float32, the image repeated before the first layer."""
    parts = Parts(neuron=partial(LoopNeuron, model.description.num_steps))
    network = MergedSteps(model, parts).to(model.mean.device)
    return Contender(network, network)


# Each gets our model and the dtype that ours runs in; only (b) takes it up.
PEERS: dict[str, Callable[[SpikingModel, torch.dtype], Contender]] = {
    "spikingjelly": lambda model, _: spikingjelly(model),
    "spikingjelly_best": spikingjelly_best,
    "snntorch": lambda model, _: snntorch_loop(model),
    "plain_loop": lambda model, _: plain_loop(model),
}
