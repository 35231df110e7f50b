"""The parts of an unfinished audit, one small file for each batch and trial: killed, it goes on where it was."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.atomic import write_atomically
from spikeproof.models import SpikingModel
from spikeproof.spiking import sites
from spikeproof.version import __version__

Arrays = Mapping[str, Any]

_DIGEST = hashlib.sha256().digest_size  # what each file begins with, so that no damage goes unnoticed


class Parts:
    """Named groups of arrays in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, Arrays] = {}

    def get(self, name: str) -> Arrays | None:
        """What was put under this name, by this process or one before; a damaged file is as good as none."""
        if name not in self._held and self._folder is not None:
            try:
                whole = (self._folder / f"{name}.part").read_bytes()
            except OSError:
                return None
            digest, content = whole[:_DIGEST], whole[_DIGEST:]
            if digest != hashlib.sha256(content).digest():
                return None
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                self._held[name] = {key: archive[key] for key in archive.files}
        return self._held.get(name)

    def put(self, name: str, arrays: Arrays) -> None:
        self._held[name] = arrays
        if self._folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **dict(arrays))
            content = buffer.getvalue()
            whole = hashlib.sha256(content).digest() + content
            write_atomically(self._folder / f"{name}.part", lambda path: path.write_bytes(whole))

    def forget(self) -> None:
        """Remove the files, also what a killed process left half-written; the audit is whole and kept elsewhere.

        Another audit may be at it at the same time, so what is gone already is no error.
        """
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # other audits' parts, or anything else, stay
                self._folder.parent.rmdir()


def fingerprint(models: Sequence[nn.Module], images: Tensor, labels: Tensor, *settings: Any) -> str:
    """A name for exactly this audit: other weights, noise, images, settings or another version make another.

    Args:
        models: the audited one and its substitutes.
        settings: dataclasses.
    """
    digest = hashlib.sha256(f"{__version__} {torch.__version__}".encode())
    for model in models:
        digest.update(str(model).encode())
        if isinstance(model, SpikingModel):
            digest.update(str(model.description).encode())
        for name, site in sites(model).items():
            digest.update(
                f"{name} {site.noise_std} {site.noise_at_inference} {site.random_leak} {site.neuron}".encode()
            )
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for tensor in (images, labels):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    for setting in settings:
        digest.update(json.dumps(dataclasses.asdict(setting), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
