"""The parts of an unfinished audit, one small file for each batch and trial: killed, it goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.atomic import write_atomically
from spikeproof.version import __version__

Arrays = Mapping[str, Any]


class Parts:
    """Named groups of arrays in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, Arrays] = {}

    def get(self, name: str) -> Arrays | None:
        """What was put under this name, by this process or one before; a damaged file is as good as none."""
        if name not in self._held and self._folder is not None:
            try:
                with np.load(self._folder / f"{name}.npz", allow_pickle=False) as archive:
                    self._held[name] = {key: archive[key] for key in archive.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                return None
        return self._held.get(name)

    def put(self, name: str, arrays: Arrays) -> None:
        self._held[name] = arrays
        if self._folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **dict(arrays))
            write_atomically(self._folder / f"{name}.npz", lambda path: path.write_bytes(buffer.getvalue()))

    def forget(self) -> None:
        """Remove the files; the audit is whole."""
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.glob("*.npz"):
                path.unlink()
            self._folder.rmdir()


def fingerprint(model: nn.Module, images: Tensor, labels: Tensor, settings: Any) -> str:
    """A name for exactly this audit: other weights, images, settings or another version make another."""
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {model}".encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for tensor in (images, labels):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps(dataclasses.asdict(settings), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
