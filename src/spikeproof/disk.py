"""Writing and reading files: whole or not at all, by one writer at a time, and with a checksum.

* ``write_atomically``: a file is the old one or the whole new one, whatever happens.
* ``alone``: a lock that the system releases when its process ends, however it ends.
* ``sealed`` and the functions below it: JSON objects and bytes with a checksum of what was written.
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
    """Call ``write`` with a temporary path beside ``path``, then move the result into place in one step.

    Whatever happens, ``path`` is either the old file or the whole new one. No temporary file stays, unless the process
    is killed; the next call removes such files when they are an hour old.

    Args:
        path: the file to write; missing folders above it are made.
        write: writes the file's content to the path that it is given.

    Raises:
        OSError: the system refuses, such as a full disk.
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
    """Remove temporary files of this file that killed processes have left."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                left.unlink(missing_ok=True)


class Busy(SpikeproofError):
    """Another process holds the lock."""


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """A context in which this process alone holds a lock.

    Some file systems have no locks (Lustre without ``-o flock``, some FUSE and NFS mounts). There is no lock then, and
    one warning says so.

    Args:
        path: the lock file. The folder above it is made, and removed again where it has nothing but a ``.lock``.
        what: what the lock is for, in messages.

    Raises:
        Busy: another process has the lock.
        SpikeproofError: the file cannot be made. The message says why.
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
            if path.name == ".lock" and {file.name for file in folder.iterdir()} <= {".lock"}:
                path.unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def why_no_locks(folder: Path) -> str | None:
    """The system's reason why files in this folder cannot be locked; None where they can.

    A temporary file is tried, so that nobody's lock is touched.

    Args:
        folder: an existing one.

    Raises:
        OSError: no file can be made there.
    """
    try:
        import fcntl
    except ImportError:  # Windows, whose own locks work on every file system
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
    """Add a checksum (SHA-256) of all other fields to a JSON object.

    Args:
        plain: values that JSON can hold. A checksum in it is replaced.

    Example:
        >>> unsealed(sealed({"seed": 1}), "here", "mend it")
        {'seed': 1}
    """
    plain = {name: value for name, value in plain.items() if name != _SEAL}
    return {**plain, _SEAL: _hash(plain)}


def unsealed(fields: dict[str, Any], where: str, mend: str) -> dict[str, Any]:
    """Check the checksum of a JSON object and take it out. An object without one is older or made by hand, and passes.

    Args:
        fields: what ``sealed`` gave, read back.
        where: what the message calls its place, such as the file.
        mend: what to do, without a full stop.

    Raises:
        SpikeproofError: the checksum does not fit.
    """
    plain = {name: value for name, value in fields.items() if name != _SEAL}
    if _SEAL in fields and fields[_SEAL] != _hash(plain):
        raise SpikeproofError(f"{where} is damaged: it is not what was written (its checksum differs); {mend}.")
    return plain


def sealed_bytes(content: bytes) -> bytes:
    """The content with its SHA-256 (32 bytes) in front of it."""
    return hashlib.sha256(content).digest() + content


def unsealed_bytes(whole: bytes) -> bytes | None:
    """The content of what ``sealed_bytes`` gave; None where the checksum does not fit."""
    digest, content = whole[:_DIGEST], whole[_DIGEST:]
    return content if digest == hashlib.sha256(content).digest() else None


def sealed_behind(content: bytes) -> bytes:
    """The content with its SHA-256 behind it: for files whose first bytes the system must be able to read."""
    return content + hashlib.sha256(content).digest()


def is_sealed_behind(whole: bytes) -> bool:
    """Whether these bytes are what :func:`sealed_behind` gave."""
    return whole[-_DIGEST:] == hashlib.sha256(whole[:-_DIGEST]).digest()


def _hash(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def user_path(named: str | os.PathLike[str]) -> Path:
    """The path that a user names, with ``~`` replaced by the home folder.

    Args:
        named: there need not be anything at this path.

    Raises:
        SpikeproofError: an impossible path: it has a NUL, is too long, or has the ``~`` of an unknown user.

    Example:
        >>> user_path("runs/mine").name
        'mine'
    """
    try:
        path = Path(named).expanduser()
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whoever reads or writes there has a better message
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpikeproofError(f"{os.fspath(named)!r} can be no path ({reason}); give another.") from None
    return path
