"""Takes out of a run's files what is private to a machine: command lines and absolute paths."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from spikeproof.disk import sealed

# An absolute path in a text. What stands before it decides: "8/255", "and/or", "(1)/2" and "./a/b" are none.
_REST = r"""[^\s'"`,;:|<>)\]}]*"""
_BEFORE = r"(?<![\w.)\]}~/\\%∞-])"
_PATH = re.compile(
    rf"""
    \b(?:(?i:file):/+|[A-Za-z][\w+.-]+:///+)(?:[A-Za-z]:(?=[\\/]))?{_REST}  # file:///a/b, file://host/a/b, sqlite:///a
    | (?P<address>\b[A-Za-z][\w+.-]+://[^\s'"`,;|<>]*)                      # of the web, left as it is
    | {_BEFORE}/(?=[^\s/]){_REST}                                           # /a/b
    | {_BEFORE}//[^\s/]+/{_REST}                                            # //server/a
    | (?<![\w\\])\\\\[^\s\\/]+\\{_REST}                                     # \\server\a
    | (?<![\w/\\])~(?:[A-Za-z_][\w.-]*)?[/\\](?=[^\s/]){_REST}              # ~/a, ~someone/a
    | (?<!\w)[A-Za-z]:[\\/]{_REST}                                         # C:\a
    """,
    re.VERBOSE,
)
_HOME_OR_FILE = re.compile(r"~(?:[A-Za-z_][\w.-]*)?[/\\]|(?i:file):/")


def shared_json(path: Path) -> str:
    """A JSON file of a run as it may be shared: every ``command`` is emptied, and every absolute path is shortened.

    All fields stay, so that the file can still be read as a record.

    Args:
        path: the file.

    Returns:
        Its new text, with a new checksum.
    """
    return json.dumps(sealed(_shared(json.loads(path.read_text(encoding="utf-8")))), indent=1) + "\n"


def without_paths(text: str) -> str:
    """Shorten every absolute path in a text to its last part. Addresses of the web stay.

    Args:
        text: any text.

    Example:
        >>> without_paths("trained on /home/someone/data/mine.npz within 8/255")
        'trained on mine.npz within 8/255'
    """
    return _PATH.sub(lambda match: match["address"] or _last_part(match.group()), text)


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {_shared(name): "" if name == "command" else _shared(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shared(each) for each in value]
    if not isinstance(value, str):
        return value
    # A text that is a path as a whole may have spaces in it.
    absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    return _last_part(value) if absolute or _HOME_OR_FILE.match(value) else without_paths(value)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
