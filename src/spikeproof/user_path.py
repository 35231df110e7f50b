"""A path as a user named it."""

from __future__ import annotations

import os
from pathlib import Path

from spikeproof.errors import SpikeproofError


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
