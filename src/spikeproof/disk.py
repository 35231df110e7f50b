"""What lies on disk: written whole or not at all, by one writer at a time, sealed, and where a user said.

* ``write_atomically``: a file is the old one or the whole new one, whatever happens.
* ``alone``: a lock that the system takes back when its process ends, however it ends.
* ``sealed`` and its kin: JSON objects and bytes that say whether they are as they were written.
* ``user_path``: a path as a user named it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from spikeproof.errors import SpikeproofError, said_by_the_system

_LEFT_BEHIND = 3600.0  # seconds after which no process is still writing a file
_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_SEAL = "sha256"
_DIGEST = hashlib.sha256().digest_size


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary path beside ``path``, then move the result into place in one step.

    Whatever happens, ``path`` is either the old file or the whole new one, and no temporary file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _tidy(path)


def _tidy(path: Path) -> None:
    """Remove what processes that were killed in the middle of writing this file have left."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                left.unlink(missing_ok=True)


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
            _warn_of_no_locks(folder, refused)
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
def _warn_of_no_locks(folder: Path, refused: str) -> None:
    warnings.warn(
        f"The file system of {folder} has no file locks ({refused}), so nothing keeps two processes from writing "
        "there: see to it that only one does.",
        RuntimeWarning,
        stacklevel=5,
    )


def sealed(plain: dict[str, Any]) -> dict[str, Any]:
    """The same object with a hash of all else in it.

    Example:
        >>> unsealed(sealed({"seed": 1}), "here", "mend it")
        {'seed': 1}
    """
    plain = {name: value for name, value in plain.items() if name != _SEAL}
    return {**plain, _SEAL: _hash(plain)}


def unsealed(held: dict[str, Any], where: str, mend: str) -> dict[str, Any]:
    """What was sealed. One without a seal is from before there were any, or written by hand, and passes.

    Raises:
        SpikeproofError: it is not what was written.
    """
    plain = {name: value for name, value in held.items() if name != _SEAL}
    if _SEAL in held and held[_SEAL] != _hash(plain):
        raise SpikeproofError(f"{where} is damaged: it is not what was written (its checksum differs); {mend}.")
    return plain


def sealed_bytes(content: bytes) -> bytes:
    """A hash, and behind it the content."""
    return hashlib.sha256(content).digest() + content


def unsealed_bytes(whole: bytes) -> bytes | None:
    """The content, or None where it is not what was written."""
    digest, content = whole[:_DIGEST], whole[_DIGEST:]
    return content if digest == hashlib.sha256(content).digest() else None


def sealed_behind(content: bytes) -> bytes:
    """The content, and behind it a hash: for files whose beginning is the system's to read."""
    return content + hashlib.sha256(content).digest()


def is_sealed_behind(whole: bytes) -> bool:
    """Whether this is what :func:`sealed_behind` made."""
    return whole[-_DIGEST:] == hashlib.sha256(whole[:-_DIGEST]).digest()


def _hash(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def user_path(named: str | os.PathLike[str]) -> Path:
    """The path that is meant, with ``~`` for a home folder. There may be nothing there.

    Raises:
        SpikeproofError: no path can be called that: it has a NUL, is too long, or is of a user whom nobody knows.

    Example:
        >>> user_path("runs/mine").name
        'mine'
    """
    try:
        path = Path(named).expanduser()
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whoever reads or writes there has a better sentence
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpikeproofError(f"{os.fspath(named)!r} can be no path ({reason}); give another.") from None
    return path
