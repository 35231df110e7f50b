"""The control groups (Linux's cgroups, version 1 and 2) that hold this process: what a container may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """The folders of this process's control group and of those above it, as far as they are mounted.

    Args:
        controller: "cpu" or "memory", as version 1 calls its hierarchies. Version 2 has one for all.
        root: where ``proc`` and ``sys`` lie.

    Returns:
        Pairs of (version, folder), from the process's own group up to the root of each hierarchy. A limit holds where
        any of them has it.

    Example:
        >>> all(version in (1, 2) for version, folder in control_groups("cpu"))
        True
    """
    for version, mounted, folder in _mounts(controller, root):
        for inside in _up_from_own(root, "" if version == 2 else controller, mounted):
            yield version, folder / inside


def _mounts(controller: str, root: Path) -> Iterator[tuple[int, str, Path]]:
    """For each hierarchy with this controller: its version, the group that is mounted, and the folder where."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            fields, kinds = before.split(), after.split()
            if len(fields) < 5 or len(kinds) < 3:
                continue
            if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and controller in kinds[2].split(",")):
                yield 2 if kinds[0] == "cgroup2" else 1, fields[3], root / fields[4].lstrip("/")


def _up_from_own(root: Path, kind: str, mounted: str) -> Iterator[Path]:
    """This process's control group and those above it, as paths below the group that is mounted."""
    own = ""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kind == kinds or kind in kinds.split(","):
                own = path
    # A container often sees only its own group, mounted as the root, while its path is that on the machine outside.
    inside = own.removeprefix(mounted.rstrip("/")).strip("/") if own.startswith(mounted.rstrip("/")) else ""
    parts = [] if ".." in inside.split("/") else [name for name in inside.split("/") if name]
    for depth in range(len(parts), -1, -1):
        yield Path(*parts[:depth])
