"""The run folder: resolved config, metrics, weights and the state to go on from. Every write is atomic."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import platform
import zipfile
from pathlib import Path
from typing import Any

import torch

from spikeproof.atomic import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.machine import machine_name
from spikeproof.version import __version__

# Fields that came after the first runs, with what these runs meant.
_ADDED: dict[str, dict[str, Any]] = {"train": {"loss": "mean"}, "audit": {"transfer": ["PGD-20"]}}


class RunFolder:
    """A folder that holds one run.

    config.json (resolved settings and versions), metrics.jsonl (a line an epoch), model.safetensors (final weights),
    state.pt (what a resume needs; gone once the run is finished), and later outcomes.parquet, audit.json,
    pictures.npz and report.html.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def finished(self) -> bool:
        return self.weights.is_file()

    @property
    def begun(self) -> bool:
        return self._config.is_file()

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def open(self, name: str, settings: dict[str, Any], *, device: str, command: str, resume: bool) -> None:
        """Begin or go on with a run of these settings.

        Raises:
            SpikeproofError: a run is already there and ``resume`` is off, or it is on and the settings differ.
        """
        if any(part.is_file() for part in (self.path, *self.path.parents)):
            raise SpikeproofError(f"{self.path} cannot be a run folder: a file is in its way; give another --out.")
        if self.begun:
            if not resume:
                raise SpikeproofError(
                    f"{self.path} already holds a run; continue it with --resume, give another --out, or remove it."
                )
            now = json.loads(json.dumps(settings))
            before = _completed(self.config()["recipe"], now)
            if before != now:
                differing = ", ".join(_differences(before, now))
                raise SpikeproofError(
                    f"The run in {self.path} was started with other settings ({differing}); resume it with its own, "
                    "or give another --out."
                )
            return
        config = {
            "name": name,
            "recipe": settings,
            "spikeproof": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device,
            "machine": machine_name(device),
            "threads": torch.get_num_threads(),
            "command": command,
        }
        write_atomically(self._config, lambda path: path.write_text(json.dumps(config, indent=1) + "\n"))

    def abandon(self) -> None:
        """Take back ``open``, for a run that could not begin."""
        self._config.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files stay, and so does their folder
            self.path.rmdir()

    def config(self) -> dict[str, Any]:
        """config.json as it was written.

        Raises:
            SpikeproofError: there is none, or it is damaged.
        """
        target = self.path / "config.json"
        if not target.is_file():
            raise SpikeproofError(f"{self.path} is not a run folder: it has no config.json; give a folder of a run.")
        try:
            config = json.loads(target.read_text())
        except ValueError:
            raise SpikeproofError(f"{target} is damaged: it is not JSON; restore it or train again.") from None
        if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict):
            raise SpikeproofError(f"{target} is damaged: it holds no recipe; restore it or train again.")
        return config

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        if not self._metrics.is_file():
            return []
        try:
            return [json.loads(line) for line in self._metrics.read_text().splitlines() if line]
        except ValueError:
            raise SpikeproofError(
                f"{self._metrics} is damaged: a line is not JSON; restore it or train again."
            ) from None

    def write_metrics(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(self._metrics, lambda path: path.write_text(text))

    def write_state(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self._state, lambda path: path.write_bytes(buffer.getbuffer()))

    def read_state(self) -> dict[str, Any] | None:
        """What was written last, or None.

        Raises:
            SpikeproofError: the file is damaged.
        """
        if not self._state.is_file():
            return None
        try:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"it holds a {type(state).__name__}")
        except (RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise SpikeproofError(f"{self._state} is damaged ({reason}); remove {self.path} and train again.") from None
        return state

    def forget_state(self) -> None:
        self._state.unlink(missing_ok=True)


def _completed(recipe: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The recorded recipe with what it lacks only because it is older."""
    completed = dict(recipe)
    for part, fields in _ADDED.items():
        if isinstance(recipe.get(part), dict):
            asked = {name: value for name, value in fields.items() if name in now.get(part, {})}
            completed[part] = {**asked, **recipe[part]}
    return completed


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [d for key in keys for d in _differences(before.get(key), after.get(key), f"{prefix}{key}.")]
    return [] if before == after else [f"{prefix.rstrip('.')}: {before} then, {after} now"]
