"""Firing noise that costs a read: normals from a fixed tape, at a random place of it for each step of each forward.

A network's noise outnumbers its weights many times, and drawing it anew (hash, logarithm, cosine) takes longer than
all else a site does. So the normals are drawn once, and a forward draws only where on the tape each step begins: the
backward reads the same places again, and nothing is stored. The neurons of a sample read neighbouring values, so that
within one sample, site and step all noise is distinct and independent; the next sample begins ``SAMPLE_STRIDE`` further
on. So a sample's noise is what NLIF asks for, while in a layer of more neurons than that two samples of one batch share
values, at different neurons; and of all noise there could be, one of 2^16 stretches is drawn.
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

    The tape is bfloat16 for bfloat16 values, as a site's time is that of reading memory; else float32.
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
    """N(0, 1) in the shape of ``like``, [N, *space, C] or [N, C]: a view of the tape."""
    strides = [math.prod(like.shape[dim + 1 :]) for dim in range(like.ndim)]
    if like.ndim > 2:
        strides[0] = SAMPLE_STRIDE
    return tape.normals.as_strided(like.shape, strides)


@functools.cache
def _tape(chunks: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " many"]:
    """The first ``chunks`` chunks of the one tape there is; the same on every device."""
    drawn = [torch.randn(_CHUNK, generator=torch.Generator().manual_seed(chunk)) for chunk in range(chunks)]
    return torch.cat(drawn).to(device, dtype)
