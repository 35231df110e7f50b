"""How many processors this process may use: those of its affinity mask, or fewer where its container has a quota."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def available_processors(root: Path = Path("/"), *, allowed: int | None = None) -> int:
    """The processors that the machine, this process's affinity mask and its control groups' quotas leave it.

    Args:
        root: where ``proc`` and ``sys`` lie.
        allowed: how many processors the affinity mask names; this process's by default.

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
    for kind, mount in _mounts(root):
        for folder in _up_from_own(root, kind, mount):
            quota = _quota_v2(folder) if kind == "" else _quota_v1(folder)
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


def _mounts(root: Path) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Where the hierarchies that have quotas lie: "cpu" (version 1) or "" (version 2), the group that is mounted, and
    the folder on which."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            fields, kinds = before.split(), after.split()
            if len(fields) < 5 or len(kinds) < 3:
                continue
            if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and "cpu" in kinds[2].split(",")):
                kind = "" if kinds[0] == "cgroup2" else "cpu"
                yield kind, (fields[3], root / fields[4].lstrip("/"))


def _up_from_own(root: Path, kind: str, mount: tuple[str, Path]) -> Iterator[Path]:
    """The folders of this process's control group and of those above it, as far as they are mounted."""
    mounted, folder = mount
    own = ""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kind == kinds or kind in kinds.split(","):
                own = path
    # A container often sees its own group alone, mounted as if it were the root, under a path that is another's.
    inside = own.removeprefix(mounted.rstrip("/")).strip("/") if own.startswith(mounted.rstrip("/")) else ""
    parts = [] if ".." in inside.split("/") else [part for part in inside.split("/") if part]
    for depth in range(len(parts), -1, -1):
        yield folder.joinpath(*parts[:depth])
