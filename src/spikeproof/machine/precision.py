"""In which precision a network runs: what is asked for, what the machine has in hardware, and what verdicts rest on."""

from __future__ import annotations

import functools
import platform
import warnings
from typing import Literal, get_args

import torch

from spikeproof.checked import told
from spikeproof.errors import SpikeproofError

Precision = Literal["auto", "fp32", "bf16"]
Resolved = Literal["fp32", "bf16"]


def native_bf16(device: str | torch.device) -> bool:
    """Whether a device has bfloat16 in hardware, so that bf16 is the faster choice there.

    On x86, oneDNN says yes for every CPU with AVX-512, also where it emulates bfloat16, so the CPU is asked too.

    Args:
        device: a CUDA device that torch does not see on this machine counts as one that has it, as all of NVIDIA's
            since 2020 do.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_bf16()


@functools.cache
def _cpu_has_bf16() -> bool:
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    return platform.machine() not in ("x86_64", "AMD64") or torch.cpu._is_avx512_bf16_supported()


def resolved(precision: Precision, device: str | torch.device) -> Resolved:
    """The precision in which a network runs on a device.

    Args:
        precision: "auto" is bf16 where the device has it in hardware, else fp32. "bf16" stays bf16 also where the CPU
            emulates it, with one warning a process.
        device: the one that computes.

    Example:
        >>> resolved("fp32", "cpu"), resolved("auto", "cpu") == ("bf16" if native_bf16("cpu") else "fp32")
        ('fp32', True)
    """
    if precision == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    if precision == "bf16" and torch.device(device).type == "cpu" and not native_bf16(device):
        _warn_of_emulation()
    return precision


def for_verdicts(precision: Precision) -> Resolved:
    """The precision in which attacks run on whose images verdicts rest: "auto" is fp32 on every machine.

    An audit that crafted in bf16 was measured to overstate the worst case (docs/auditing.md).

    Args:
        precision: as it is asked for.

    Example:
        >>> for_verdicts("auto"), for_verdicts("bf16")
        ('fp32', 'bf16')
    """
    return "fp32" if precision == "auto" else precision


def check_precision(precision: str, who: str) -> None:
    """Refuse an unknown precision.

    Args:
        precision: what the caller gave.
        who: the beginning of the message, such as "Training runs".

    Raises:
        SpikeproofError: it is not one of ``Precision``.
    """
    if not isinstance(precision, str) or precision not in get_args(Precision):
        raise SpikeproofError(f"{who} in 'auto', 'fp32' or 'bf16', not {told(precision)}.")


@functools.cache
def _warn_of_emulation() -> None:
    warnings.warn(
        "bf16 is emulated on this CPU: 10 to 15 times slower than fp32 with AVX2, 2 to 3 times with AVX-512; use "
        "precision fp32 or auto (--train.precision auto, and --precision auto of an audit).",
        RuntimeWarning,
        stacklevel=3,
    )
