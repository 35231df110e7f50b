"""What is a machine's own in the files of a run: command lines and absolute paths. It is taken out before sharing."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

# A path from a root (/a/b, ~/a, C:\a) as a word of a text; "8/255", "and/or" and addresses of the web are none.
_PATH = re.compile(r"""(?<![^\s'"`(=\[,:])(?:~?/(?=[^\s/])|[A-Za-z]:[\\/])[^\s'"`,;:)\]]*""")


def shared_json(path: Path) -> str:
    """A JSON file of a run as it may be shared: every ``command`` emptied, every absolute path shortened.

    The fields stay, so that the file is still read as what it is.
    """
    return json.dumps(_shared(json.loads(path.read_text(encoding="utf-8"))), indent=1) + "\n"


def without_paths(text: str) -> str:
    """The text with the last part only of every absolute path in it.

    Example:
        >>> without_paths("trained on /home/someone/data/mine.npz within 8/255")
        'trained on mine.npz within 8/255'
    """
    return _PATH.sub(lambda found: _last_part(found.group()), text)


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "" if name == "command" else _shared(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_shared(held) for held in value]
    if not isinstance(value, str):
        return value
    # A text that is a path as a whole may have spaces in it.
    whole = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute() or value.startswith("~")
    return _last_part(value) if whole else without_paths(value)


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name  # which takes both kinds of slash
