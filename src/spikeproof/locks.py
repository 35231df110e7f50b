"""One writer at a time: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import functools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from spikeproof.errors import SpikeproofError, said_by_the_system

_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class Busy(SpikeproofError):
    """Another process holds the lock."""


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``. The folder above it is made, and removed where nothing came in beside a ``.lock``.

    Some file systems have no locks (Lustre without ``-o flock``, some FUSE and NFS mounts). There nothing is held, and
    one warning says so.

    Args:
        what: what the lock is of, as the sentence calls it.

    Raises:
        Busy: another process has it.
        SpikeproofError: the file cannot be made, and why.
    """
    folder = path.parent
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refused = why_no_locks(folder)
        if refused is None:
            lock.acquire(timeout=0)
        else:
            _warn(folder, refused)
    except Timeout:
        raise Busy(f"Another process is at {what}; wait until it ends, or give another folder.") from None
    except OSError as error:
        raise SpikeproofError(f"{path} cannot be made for {what}: {said_by_the_system(error)}.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.name == ".lock" and {held.name for held in folder.iterdir()} <= {".lock"}:
                path.unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def why_no_locks(folder: Path) -> str | None:
    """What the system says where files in this folder cannot be locked; None where they can.

    Asked of a nameless file, so that nobody's lock is touched.

    Raises:
        OSError: no file can be made there.
    """
    try:
        import fcntl
    except ImportError:  # Windows locks in a way of its own, on every file system
        return None
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return None if error.errno in _HELD_BY_ANOTHER else error.strerror or str(error)
    return None


@functools.cache
def _warn(folder: Path, refused: str) -> None:
    warnings.warn(
        f"The file system of {folder} has no file locks ({refused}), so nothing keeps two processes from writing "
        "there: see to it that only one does.",
        RuntimeWarning,
        stacklevel=5,
    )
