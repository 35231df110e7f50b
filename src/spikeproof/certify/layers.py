"""Bounds through each kind of layer that our networks are made of; a kind that is not here is refused."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, linear

from spikeproof.certify.interval import Interval, Rounding
from spikeproof.certify.recurrence import spikes_within
from spikeproof.errors import SpikeproofError
from spikeproof.models import CurrentNorm
from spikeproof.models.resnet import Block
from spikeproof.models.sew_resnet import SEWBlock
from spikeproof.models.wide_resnet import Block as WideBlock
from spikeproof.spiking import PerStepNorm, Site


@singledispatch
def through(module: nn.Module, given: Interval, rounding: Rounding) -> Interval:
    """Bounds of what a layer makes of anything within ``given``, merged [T*N, ...] as networks have it.

    Raises:
        SpikeproofError: a kind of layer without a rule, or one that has something at inference that bounds do not know.
    """
    raise SpikeproofError(
        f"Interval bounds have no rule for the layer {type(module).__name__}; certify this network with the method "
        "smoothing, which asks nothing of its layers."
    )


@through.register
def _(module: nn.Sequential, given: Interval, rounding: Rounding) -> Interval:
    for layer in module:
        given = through(layer, given, rounding)
    return given


@through.register
def _(module: nn.Flatten, given: Interval, rounding: Rounding) -> Interval:
    return given.each(module)


@through.register
def _(module: nn.Linear, given: Interval, rounding: Rounding) -> Interval:
    return rounding.affine(given, linear, module.weight, _double(module.bias), module.in_features)


@through.register
def _(module: nn.Conv2d, given: Interval, rounding: Rounding) -> Interval:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise SpikeproofError("Interval bounds know convolutions with a padding of zeros, in numbers, alone.")
    how = (module.stride, module.padding, module.dilation, module.groups)
    bias = _double(module.bias)
    shaped = bias if isinstance(bias, float) else bias.view(1, -1, 1, 1)
    terms = module.weight[0].numel()
    return rounding.affine(given, lambda x, weight: conv2d(x, weight, None, *how), module.weight, shaped, terms)


@through.register
def _(module: nn.AvgPool2d, given: Interval, rounding: Rounding) -> Interval:
    size = module.kernel_size
    taps = size * size if isinstance(size, int) else size[0] * size[1]
    return given.each(module).widened(rounding.margin(module(given.largest), taps))


@through.register
def _(module: nn.AdaptiveAvgPool2d, given: Interval, rounding: Rounding) -> Interval:
    def pooled(bound: Tensor) -> Tensor:
        return adaptive_avg_pool2d(bound, module.output_size)

    return given.each(pooled).widened(rounding.margin(pooled(given.largest), given.low[0, 0].numel()))


@through.register
def _(module: nn.BatchNorm2d, given: Interval, rounding: Rounding) -> Interval:
    """w (x - mean) / sqrt(variance + eps) + b, in whatever way a kernel writes that."""
    mean, variance = module.running_mean, module.running_var
    if module.training or mean is None or variance is None:
        raise SpikeproofError(
            "Interval bounds need a batch norm's running statistics; with those of a batch an image's logits depend on "
            "the images beside it."
        )
    scale = (variance.double() + module.eps).rsqrt()
    scale = scale if module.weight is None else scale * module.weight.double()
    shift = torch.zeros_like(scale) if module.bias is None else module.bias.double()
    mean, scale, shift = (part.view(1, -1, 1, 1) for part in (mean.double(), scale, shift))
    size = scale.abs() * (given.largest + mean.abs()) + shift.abs()
    moved = given.each(lambda bound: bound - mean).times(scale).each(lambda bound: bound + shift)
    return moved.widened(rounding.margin(size, 16))


@through.register
def _(module: PerStepNorm, given: Interval, rounding: Rounding) -> Interval:
    steps = len(module.steps)
    parts = zip(given.low.chunk(steps), given.high.chunk(steps), strict=True)
    return _merged([through(norm, Interval(*part), rounding) for norm, part in zip(module.steps, parts, strict=True)])


@through.register
def _(module: CurrentNorm, given: Interval, rounding: Rounding) -> Interval:
    if given.low.ndim == 4:
        return through(module.norm, given, rounding)
    flat = through(module.norm, given.each(lambda bound: bound[:, :, None, None]), rounding)
    return flat.each(lambda bound: bound[:, :, 0, 0])


@through.register
def _(module: Site, given: Interval, rounding: Rounding) -> Interval:
    _refuse_what_is_not_bounded(module)
    steps = 1 if module.constant else module.num_steps
    if isinstance(module.norm, PerStepNorm) and steps == 1:
        steps = module.num_steps
        given = given.each(lambda bound: bound.repeat(steps, *(1,) * (bound.ndim - 1)))
    if module.norm is not None:
        given = through(module.norm, given, rounding)
    currents = given.each(lambda bound: bound.unflatten(0, (steps, -1)).movedim(2, -1))
    spikes = spikes_within(
        currents, module.neuron, module.num_steps, rounding, decay=module.decay, gain=module.gain
    ).each(lambda bound: bound.movedim(-1, 2).flatten(0, 1))
    if module.pool == 1:
        return spikes
    pooled = spikes.each(lambda bound: avg_pool2d(bound, module.pool))
    if module.pool & (module.pool - 1) == 0:  # whole numbers by a power of two: exact
        return pooled
    return pooled.widened(rounding.margin(pooled.largest, module.pool**2))


@through.register
def _(module: Block, given: Interval, rounding: Rounding) -> Interval:
    inner = given
    for layer in (module.conv_in, module.site_in, module.conv_out, module.norm_out):
        inner = through(layer, inner, rounding)
    skip = given if module.skip is None else through(module.skip, given, rounding)
    return through(module.site_out, _added(inner, skip, rounding), rounding)


@through.register
def _(module: SEWBlock, given: Interval, rounding: Rounding) -> Interval:
    inner = given
    for layer in (module.conv_in, module.site_in, module.conv_out, module.site_out):
        inner = through(layer, inner, rounding)
    return _added(inner, given if module.skip is None else through(module.skip, given, rounding), rounding)


@through.register
def _(module: WideBlock, given: Interval, rounding: Rounding) -> Interval:
    entered = through(module.site_in, given, rounding)
    inner = entered
    for layer in (module.conv_in, module.site_out, module.conv_out):
        inner = through(layer, inner, rounding)
    skip = given if module.skip is None else through(module.skip, entered, rounding)
    weights = module.weights.detach().double()
    return _added(skip.times(weights[0]), inner.times(weights[1]), rounding)


def _refuse_what_is_not_bounded(site: Site) -> None:
    if site.stochastic:
        raise SpikeproofError(
            "Interval bounds are of networks that draw no random numbers, and this one draws them at inference; "
            "certify it with the method smoothing."
        )
    if site.adaptation is not None:
        raise SpikeproofError(
            "Interval bounds know a fixed threshold, and HoSNN's moves; certify this network with the method smoothing."
        )


def _added(first: Interval, second: Interval, rounding: Rounding) -> Interval:
    """The sum, each summand rounded once before."""
    return first.plus(second).widened(rounding.margin(first.largest + second.largest, 2))


def _merged(parts: list[Interval]) -> Interval:
    return Interval(torch.cat([part.low for part in parts]), torch.cat([part.high for part in parts]))


def _double(bias: Tensor | None) -> Tensor | float:
    return 0.0 if bias is None else bias.double()
