"""The parts of an unfinished audit, one small file for each batch and trial. A killed audit goes on from them."""

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
    """Named groups of arrays.

    Args:
        folder: where they are kept as files; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, Arrays] = {}

    def get(self, name: str) -> Arrays | None:
        """The arrays that were put under this name, by this process or an earlier one.

        Args:
            name: also the file's name, so no more than letters, digits, "-", "+", "." and "_".

        Returns:
            The arrays by their keys; None where there are none, or where their file is damaged.
        """
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
        """Keep arrays under a name; with a folder they are written at once, atomically and with a checksum."""
        self._arrays[name] = arrays
        if self._folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **dict(arrays))
            whole = sealed_bytes(buffer.getvalue())
            write_atomically(self._folder / f"{name}.part", lambda path: path.write_bytes(whole))

    def forget(self) -> None:
        """Remove all files, also those that a killed process left half-written: the audit is finished and saved.

        Another process may remove them at the same time, so a missing file is no error.
        """
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # other audits' parts, or anything else, stay
                self._folder.parent.rmdir()
