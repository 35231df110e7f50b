"""How much memory this process can still allocate: on a GPU, and on a machine or in a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from spikeproof.errors import SpikeproofError
from spikeproof.machine.control_groups import control_groups


def free_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """The bytes that this process can still allocate on a device.

    On CUDA these are the device's free bytes and those that torch has reserved and does not use. On a CPU it is the
    smallest of what the machine has available and of what each control group of this process (a container's limit) has
    left. File cache that the kernel can drop at any time counts as free.

    Args:
        device: CUDA, or the CPU for anything else.
        root: where ``proc`` and ``sys`` lie.

    Raises:
        SpikeproofError: the machine does not say how much memory is free.

    Example:
        >>> free_bytes(torch.device("cpu")) > 0
        True
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    left = [*_machine(root), *_groups(root)]
    if not left:
        raise SpikeproofError(
            "This machine does not say how much memory is free; give microbatch (an audit: batch_size) as a number, "
            "not 'auto'."
        )
    return max(0, min(left))


def _machine(root: Path) -> Iterator[int]:
    """The bytes that the machine has available, where it says so."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024


def _groups(root: Path) -> Iterator[int]:
    """The bytes that each control group with a limit has left."""
    for version, folder in control_groups("memory", root):
        limit, usage, cache = _FILES[version]
        # "max" is no number: no limit. The root of version 2 has no such files.
        with contextlib.suppress(OSError, ValueError):
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            yield left + _droppable(folder / "memory.stat", cache)


def _droppable(file: Path, entry: str) -> int:
    """The bytes of file cache that the kernel drops first."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == entry:
                return int(count)
    return 0


# By version: the limit, what is used, and the entry of memory.stat that counts the cache, the groups below included.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
