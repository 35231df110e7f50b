"""The parts of an unfinished audit, one small file for each batch and trial: killed, it goes on where it was."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikeproof.disk import sealed_bytes, unsealed_bytes, write_atomically

Arrays = Mapping[str, Any]


class Parts:
    """Named groups of arrays in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, Arrays] = {}

    def get(self, name: str) -> Arrays | None:
        """What was put under this name, by this process or one before; a damaged file is as good as none."""
        if name not in self._arrays and self._folder is not None:
            try:
                whole = (self._folder / f"{name}.part").read_bytes()
            except OSError:
                return None
            content = unsealed_bytes(whole)
            if content is None:
                return None
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                self._arrays[name] = {key: archive[key] for key in archive.files}
        return self._arrays.get(name)

    def put(self, name: str, arrays: Arrays) -> None:
        self._arrays[name] = arrays
        if self._folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **dict(arrays))
            whole = sealed_bytes(buffer.getvalue())
            write_atomically(self._folder / f"{name}.part", lambda path: path.write_bytes(whole))

    def forget(self) -> None:
        """Remove the files, also what a killed process left half-written; the audit is whole and kept elsewhere.

        Another audit may be at it at the same time, so what is gone already is no error.
        """
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # other audits' parts, or anything else, stay
                self._folder.parent.rmdir()
