"""One writer at a time: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from spikeproof.errors import SpikeproofError


class Busy(SpikeproofError):
    """Another process holds the lock."""


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``. The folder above it is made, and removed where nothing came in beside a ``.lock``.

    Args:
        what: what the lock is of, as the sentence calls it.

    Raises:
        Busy: another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"Another process is at {what}; wait until it ends, or give another folder.") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.name == ".lock" and len(list(path.parent.iterdir())) == 1:
                path.unlink()
                path.parent.rmdir()
        lock.release()
