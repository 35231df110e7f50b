"""How a network of others is called, and how its outputs become logits [N, K]."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.layout import Layout

Reads = Literal["mean", "sum", "last", "max"]


class Runs(enum.Enum):
    """What a network takes, and how often it is called for T steps."""

    IMAGES = "images"
    SEQUENCE = "sequence"
    MERGED = "merged"
    STEPS = "steps"
    STATES = "states"


Caller = Callable[[nn.Module, Any], Any]


def run(
    net: nn.Module, images: Float[Tensor, " n *chw"] | fx.Proxy, how: Runs | Caller, steps: int, frames: bool
) -> list[Any]:
    """What the network returns, once for each call.

    Args:
        net: the user's.
        images: [N,C,H,W], or with ``frames`` [N,T,C,H,W]. May be a stand-in without values, where the code is only
            followed (``interop/unrolled.py``).
        how: the way it is called.
        steps: T.
        frames: whether each step has a frame of its own.
    """
    if not isinstance(how, Runs):
        return [how(net, images)]
    if how is Runs.IMAGES:
        return [net(images)]
    if how is Runs.SEQUENCE:
        return [net(images.transpose(0, 1) if frames else images.unsqueeze(0).expand(steps, -1, -1, -1, -1))]
    if how is Runs.MERGED:
        return [net(images.flatten(0, 1) if frames else images.repeat_interleave(steps, 0))]
    by_step = (images.select(1, step) if frames else images for step in range(steps))
    if how is Runs.STEPS:
        return [net(each) for each in by_step]
    state, returned = None, []
    for each in by_step:
        output, state = net(each, state)
        returned.append(output)
    return returned


def picked(returned: Sequence[Any], output: int | None) -> Tensor:
    """The one tensor among what the network returned, of T calls stacked [T, ...].

    Raises:
        SpikeproofError: a tuple, and nobody said which part; or no tensor.
    """
    parts = [_picked(each, output) for each in returned]
    return parts[0] if len(parts) == 1 else torch.stack(parts)


def _picked(returned: Any, output: int | None) -> Tensor:
    if isinstance(returned, tuple | list):
        if output is None:
            raise SpikeproofError(
                f"The network returns a {type(returned).__name__} of {len(returned)}, and nobody said which part holds "
                f"the logits; give its place: adapt(net, output=0) for the first of {_told(returned)}."
            )
        if not -len(returned) <= output < len(returned):
            raise SpikeproofError(
                f"output={output} is no place in what the network returns, a {type(returned).__name__} of "
                f"{len(returned)}: {_told(returned)}."
            )
        returned = returned[output]
    elif output is not None:
        raise SpikeproofError(
            f"output={output} was given, and the network returns {_told([returned])} and no tuple; leave output out."
        )
    if not isinstance(returned, Tensor):
        raise SpikeproofError(
            f"The network returns a {type(returned).__name__} where logits were expected; say how to call it: "
            "adapt(net, runs=lambda net, images: ...) that returns a tensor."
        )
    return returned


def _told(returned: Sequence[Any]) -> str:
    return ", ".join(str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in returned)


def output_layout(output: Tensor, samples: int, steps: int, how: Runs | Caller) -> Layout:
    """How the network's output holds steps and samples, by its shape; ``Layout.STEP`` is [N, K], without steps.

    ``samples`` differs from ``steps``, so that no shape can be read in two ways.

    Raises:
        SpikeproofError: a shape that is none of these.
    """
    shape = tuple(output.shape)
    if output.ndim == 2 and shape[0] == samples:
        return Layout.STEP
    if output.ndim == 3 and shape[:2] == (steps, samples):
        return Layout.TIME_FIRST
    if output.ndim == 3 and shape[:2] == (samples, steps):
        return Layout.SAMPLE_FIRST
    if output.ndim == 2 and shape[0] == samples * steps and how is Runs.MERGED:
        return Layout.MERGED_SAMPLE
    raise SpikeproofError(
        f"Of {samples} images over {steps} steps the network gives {shape}, which is neither [N, K] nor [T, N, K] nor "
        "[N, T, K]; say how to call it: adapt(net, runs=lambda net, images: ...) that returns one of these."
    )


def read(output: Tensor, layout: Layout, steps: int, reads: Reads) -> Float[Tensor, "n k"]:
    """Logits [N, K], in float32 at least."""
    wide = output.to(torch.promote_types(output.dtype, torch.float32))
    if layout is Layout.STEP:
        return wide
    by_step = layout.by_step(wide, steps)
    if reads == "mean":
        return by_step.mean(0)
    if reads == "sum":
        return by_step.sum(0)
    return by_step[-1] if reads == "last" else by_step.amax(0)
