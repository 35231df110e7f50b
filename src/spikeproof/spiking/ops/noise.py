"""Firing noise for the price of a read: normals from a fixed tape, from a random place for each step of each forward.

A network needs many times more noise than it has weights, and drawing it anew (hash, logarithm, cosine) takes longer
than all else a site does. So the normals are drawn once, and a forward draws only where on the tape each step begins.
The backward reads the same places again, and nothing is stored. The neurons of a sample read neighbouring values, so
within one sample, site and step all noise is distinct and independent, as NLIF asks. The next sample begins
``SAMPLE_STRIDE`` further on. In a layer of more neurons than that, two samples of one batch share values, at different
neurons. And a step's noise is one of 2^16 stretches of the tape, not any noise.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# A step begins at one of so many places, this far apart (32 bytes at least: compiled code likes aligned addresses).
_STARTS = 2**16
_APART = 16
# A prime, so that no layer's size is a multiple of it.
SAMPLE_STRIDE = 4093
_CHUNK = 2**16


class Tape(NamedTuple):
    """The normals from the place where a step begins."""

    normals: Float[Tensor, " many"]


def draw_tapes(num_steps: int, values: Float[Tensor, "k n *space c"]) -> tuple[Tape, ...]:
    """A place on the tape for each step, by torch's generator of the CPU.

    The tape is bfloat16 for bfloat16 values, since reading memory takes most of a site's time; else float32.

    Args:
        num_steps: T.
        values: give samples, positions, dtype and device.
    """
    _, samples, *rest = values.shape
    needed = values[0].numel() if len(rest) == 1 else samples * SAMPLE_STRIDE + math.prod(rest)
    if torch.compiler.is_compiling():  # a number that Python must know would end the graph
        return tuple(Tape(torch.randn(needed, device=values.device)) for _ in range(num_steps))
    dtype = torch.bfloat16 if values.dtype == torch.bfloat16 else torch.float32
    chunks = -(-(_STARTS * _APART + needed) // _CHUNK)
    # To the next power of two: a batch that shrinks, as attacks have it, must not draw a new tape at every size.
    tape = _tape(1 << (chunks - 1).bit_length(), dtype, values.device)
    starts = (_APART * torch.randint(_STARTS, (num_steps,))).tolist()
    return tuple(Tape(tape[start : start + needed]) for start in starts)


def standard_normals(tape: Tape, like: Float[Tensor, "*many c"]) -> Float[Tensor, "*many c"]:
    """N(0, 1) in the shape of ``like``: a view of the tape.

    Args:
        tape: long enough for it, as :func:`draw_tapes` makes it.
        like: [N, *space, C] or [N, C].
    """
    strides = [math.prod(like.shape[dim + 1 :]) for dim in range(like.ndim)]
    if like.ndim > 2:
        strides[0] = SAMPLE_STRIDE
    return tape.normals.as_strided(like.shape, strides)


@functools.cache
def _tape(chunks: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " many"]:
    """The first ``chunks`` chunks of the one tape there is; the same on every device."""
    drawn = [torch.randn(_CHUNK, generator=torch.Generator().manual_seed(chunk)) for chunk in range(chunks)]
    return torch.cat(drawn).to(device, dtype)
