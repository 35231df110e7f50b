"""Times, memory and the machine they belong to."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from spikeproof.machine.device import machine_name

# The profiler announces every start and stop on stderr otherwise; it reads this when it first starts.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

_PACKAGES = ("torch", "spikingjelly", "snntorch", "spikeproof")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median and the extremes of ``n`` repeats."""

    median: float
    least: float
    most: float
    n: int


def alternate(calls: dict[str, Callable[[], Any]], repeats: int = 5, warmups: int = 2) -> dict[str, Timing]:
    """Time the calls in turn, A B C A B C, so that a machine that slows down slows them all.

    What compiles does so in the warm-ups, which are not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmups + repeats):
        for name, call in calls.items():
            _synchronise()
            began = time.perf_counter()
            call()
            _synchronise()
            if turn >= warmups:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(statistics.median(all_), min(all_), max(all_), len(all_)) for name, all_ in seconds.items()}


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most memory held at once through PyTorch's allocator during the call, less what was held at its start.

    On the CPU these are the allocations and frees that the profiler sees. What oneDNN takes for itself is not among
    them, and neither are frees of what was there before (PyTorch warns of that once), so a call that gives memory back
    before it takes some is not credited for it. Call it warm: a first call also holds what a compiler or an optimizer
    makes once.
    """
    gc.collect()  # garbage freed during the call would be counted against its peak
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def environment(device: torch.device) -> dict[str, Any]:
    """What a number depends on besides the code."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cpu": machine_name("cpu"),
        "threads": torch.get_num_threads(),
    }


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
