"""How many processors this process may use: those of its affinity mask, or fewer where its container has a quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from spikeproof.machine.control_groups import control_groups


def available_processors(root: Path = Path("/"), *, allowed: int | None = None) -> int:
    """How many processors the machine, the affinity mask and the quotas of control groups leave this process.

    Args:
        root: where ``proc`` and ``sys`` lie.
        allowed: how many processors the affinity mask names; None for this process's.

    Returns:
        At least 1; a quota of half a processor and more counts as a whole one.

    Example:
        >>> 1 <= available_processors() <= os.cpu_count()
        True
    """
    if allowed is None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota + 0.5) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Of this process's control groups, from its own up to the root, the processors that each may use."""
    for version, folder in control_groups("cpu", root):
        quota = _quota_v2(folder) if version == 2 else _quota_v1(folder)
        if quota is not None:
            yield quota


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max": no quota; the root has no such file
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
