"""The device that computes: which one a name means, and what it is called beside a number.

Processors round differently, and a rounding can flip a spike.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch

from spikeproof.errors import SpikeproofError


def pick_device(name: str) -> torch.device:
    """The device that a config names.

    Args:
        name: "cpu", "cuda", or "auto" for CUDA where there is one, else the CPU.

    Raises:
        SpikeproofError: CUDA was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise SpikeproofError("The device 'cuda' was asked for, but torch sees no GPU here; use 'cpu' or 'auto'.")
    return torch.device(name)


def machine_name(device: str | torch.device) -> str:
    """The name of a device's processor, such as "NVIDIA H200"; for a CPU also the vector units that PyTorch uses.

    Args:
        device: of this machine, such as "cpu" (which gives "AMD EPYC 9B14, AVX512" or the like).

    Example:
        >>> machine_name("cpu").endswith(f", {torch.backends.cpu.get_cpu_capability()}")
        True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()  # empty or only "x86_64" on Linux
