"""The run folder: config, metrics, weights, and the state from which a run goes on. Every write is atomic."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import pickle
import platform
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spikeproof.disk import alone, sealed, sealed_bytes, unsealed_bytes, user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays
from spikeproof.machine.device import machine_name
from spikeproof.machine.precision import Precision, Resolved, resolved
from spikeproof.records.reading import as_record, read_text, sealed_lines, sealed_value
from spikeproof.records.run_json import ConfigRecord, Epoch
from spikeproof.runs.same_data import refuse_other_data
from spikeproof.runs.same_settings import differing_identity, differing_settings
from spikeproof.version import __version__

_log = logging.getLogger(__name__)


class RunFolder:
    """A folder that holds one run.

    In it lie config.json (settings, what the run is, versions, device, precision, fingerprints of the data),
    metrics.jsonl (a line an epoch), model.safetensors (final weights), state.pt (what a resume needs; removed once the
    run is finished), audits (a folder for each) and report.html. All that is read back has a checksum. Whoever writes
    holds ``lock``.

    Args:
        path: of the folder, which need not exist.

    Raises:
        SpikeproofError: an impossible path.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        user_path(self.path.absolute())  # refuses impossible paths; nothing is expanded
        self._text: str | None = None  # config.json, as long as this process works on the run

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """A context in which no other process writes here.

        Raises:
            SpikeproofError: another process has the lock, or a file is where the folder should be.
        """
        if any(above.is_file() for above in (self.path, *self.path.parents)):
            raise SpikeproofError(f"{self.path} cannot be a run folder: a file is in its way; give another --out.")
        return alone(self.path / ".lock", f"the run in {self.path}")

    @property
    def weights(self) -> Path:
        """The file of the final weights, which is there once the run is finished."""
        return self.path / "model.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the final weights are there."""
        return self.weights.is_file()

    @property
    def exists(self) -> bool:
        """Whether there is a config.json, also of a run that has saved nothing yet."""
        return self._config.is_file()

    @property
    def begun(self) -> bool:
        """Whether there is something to lose: a saved step, weights or an audit."""
        audits = (file for pattern in ("audit.json", "audits/*/audit.json") for file in self.path.glob(pattern))
        return self._state.is_file() or self.finished or any(audits)

    @property
    def threads(self) -> int | None:
        """The number of threads that an unfinished run began with; None where no unfinished run is here.

        Raises:
            SpikeproofError: config.json is damaged.
        """
        threads = self.config().get("threads") if self._state.is_file() and not self.finished else None
        return threads if isinstance(threads, int) and threads >= 1 else None

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def open(
        self,
        name: str,
        settings: dict[str, Any],
        *,
        device: str,
        command: str,
        resume: bool,
        images: dict[str, Any] | None = None,
        precision: Precision | None = None,
        identity: dict[str, Any] | None = None,
        perturbed: bool = False,
        labels: dict[str, str] | None = None,
    ) -> bool:
        """Begin a run of these settings or go on with it. A run that saved nothing is replaced.

        Args:
            name: of the run.
            settings: plain values, kept under "recipe".
            device: "cpu" or "cuda".
            command: that started the run.
            resume: whether to go on with a run that is here already.
            images: ``Data.fingerprints`` of the data at hand; None without data.
            precision: in which training is asked to run; None without training.
            identity: of defenses and training (``spikeproof.train.identity``); None without training.
            perturbed: whether a defense makes the images on which training accuracy is measured.
            labels: how people write each defense that the settings name.

        Returns:
            True where the run begins, False where it goes on.

        Raises:
            SpikeproofError: a run is here and ``resume`` is off, or it is on and defenses, training, settings, data or
                precision differ.
        """
        if self.begun:
            if not resume:
                raise SpikeproofError(
                    f"{self.path} already holds a run; continue it with --resume, give another --out, or remove it."
                )
            self.refuse_others(settings, images, precision, identity)
            self._text = self._config.read_text()
            return False
        config = {
            "name": name,
            "recipe": settings,
            "spikeproof": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device,
            "machine": machine_name(device),
            "precision": None if precision is None else resolved(precision, device),
            "threads": torch.get_num_threads(),
            "images": images,
            "identity": identity,
            "perturbed": perturbed,
            "labels": labels or {},
            "command": command,
        }
        as_record(ConfigRecord, config, str(self._config), "name and command are texts")
        self._metrics.unlink(missing_ok=True)  # of a run that saved nothing
        self._text = json.dumps(sealed(config), indent=1) + "\n"
        write_atomically(self._config, lambda path: path.write_text(self._text or ""))
        return True

    def refuse_others(
        self,
        settings: dict[str, Any],
        images: dict[str, Any] | None = None,
        precision: Precision | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        """Refuse to go on with other settings, defenses, training, images or precision than the run has.

        Args:
            settings, images, precision, identity: as of ``open``.

        Raises:
            SpikeproofError: they differ. The message says in what.
        """
        recorded, was = self.config()["recipe"], self._identity()
        known = was is not None and identity is not None
        if known and isinstance(settings.get("defenses"), list):
            # These are defenses as they print; the identity compares their contents.
            recorded, settings = ({**each, "defenses": None} for each in (recorded, settings))
        differing = differing_settings(recorded, settings, self.precision, precision or "auto")
        if not differing and was is not None and identity is not None:
            differing = differing_identity({name: was.get(name) for name in identity}, identity)
        self._refuse(differing)
        refuse_other_data(self.path, self.images(), images)

    def settle(self, network: dict[str, Any]) -> None:
        """Keep which network this run trains, or refuse to go on with another one.

        An older run that does not say which network it has goes on with the one at hand, with a warning.

        Args:
            network: of ``spikeproof.train.identity.identity_of_network``.

        Raises:
            SpikeproofError: the run has another network. The message says in what.
        """
        config, was = self.config(), self._identity()
        if was is not None and "model" in was:
            self._refuse(differing_identity({"model": was["model"]}, {"model": network}))
        elif not self.begun:
            self._text = json.dumps(sealed({**config, "identity": {**(was or {}), "model": network}}), indent=1) + "\n"
            write_atomically(self._config, lambda path: path.write_text(self._text or ""))
        elif "model" not in config["recipe"] and not self.finished:
            _log.warning(
                "the run in %s does not say which network it trains, as it is older: it goes on with the one at hand.",
                self.path,
            )

    def _identity(self) -> dict[str, Any] | None:
        """What the run is; None for older runs.

        Raises:
            SpikeproofError: config.json has something else in its place.
        """
        identity = self.config().get("identity")
        if identity is not None and not isinstance(identity, dict):
            raise SpikeproofError(f"{self._config} is damaged: its identity should be a JSON object; restore it.")
        return identity

    def _refuse(self, differing: list[str]) -> None:
        if differing:
            raise SpikeproofError(
                f"The run in {self.path} was started with other settings ({', '.join(differing)}); resume it with its "
                "own, or give another --out."
            )

    def refuse_own_network(self) -> None:
        """Refuse a folder that has audits of a user's own network and no run (`spikeproof audit FILE.py:FUNCTION`).

        Raises:
            SpikeproofError: it is such a folder, or config.json is damaged.
        """
        config = self.config()
        if "network" in config["recipe"]:
            raise SpikeproofError(
                f"{self.path} holds audits of a network that your own file makes ({config.get('name')}), and neither "
                "its weights nor its training; give that file to audit or harden, as the command in its config.json "
                "does, or its network to spikeproof's functions in Python."
            )

    def abandon(self) -> None:
        """Undo ``open``, for a run that could not begin."""
        self._config.unlink(missing_ok=True)
        self._text = None
        with contextlib.suppress(OSError):  # other files stay, and so does their folder
            self.path.rmdir()

    def config(self) -> dict[str, Any]:
        """config.json as plain values, with today's names.

        Raises:
            SpikeproofError: there is none, or it is damaged.
        """
        target, mend = self._config, "restore it or train again"
        if not target.is_file():
            raise SpikeproofError(f"{self.path} is not a run folder: it has no config.json; give a folder of a run.")
        config = sealed_value(read_text(target, mend), str(target), mend)
        if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict):
            raise SpikeproofError(f"{target} is damaged: it holds no recipe; {mend}.")
        return config | {name: todays(config[name]) for name in ("recipe", "identity") if name in config}

    @property
    def precision(self) -> Resolved | None:
        """The precision of its training; for older runs what their settings say, or None where they say nothing.

        Raises:
            SpikeproofError: config.json has something else in its place.
        """
        config = self.config()
        train = config["recipe"].get("train")
        wanted = train.get("precision") if isinstance(train, dict) else None
        precision = config.get("precision", None if wanted == "auto" else wanted)
        if precision not in ("fp32", "bf16", None):
            raise SpikeproofError(
                f"{self._config} is damaged: its precision should be fp32 or bf16; restore it or train again."
            )
        return precision

    def images(self) -> dict[str, Any] | None:
        """``Data.fingerprints`` of the run's own data; None for older runs.

        Raises:
            SpikeproofError: config.json has something else in their place.
        """
        fingerprints = self.config().get("images")
        if fingerprints is None:
            return None
        names = fingerprints.get("class_names") if isinstance(fingerprints, dict) else None
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
            or not all(isinstance(fingerprints.get(split), str) for split in ("train", "validation", "test"))
        ):
            raise SpikeproofError(
                f"{self._config} is damaged: its fingerprints of the images cannot be read; restore it or train again."
            )
        return dict(fingerprints)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch; none where there is no such file.

        Raises:
            SpikeproofError: it is damaged.
        """
        if not self._metrics.is_file():
            return []
        mend = "restore it or train again"
        lines = sealed_lines(self._metrics, mend)
        for where, line in lines:
            as_record(Epoch, line, where, mend)
        return [line for _, line in lines]

    def write_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl.

        Args:
            lines: one an epoch, with the fields of ``spikeproof.records.run_json.Epoch``.

        Raises:
            SpikeproofError: a line would be refused when it is read.
        """
        for number, line in enumerate(lines, start=1):
            as_record(Epoch, line, f"{self._metrics}, line {number}", "report this, as it is a fault of spikeproof's")
        text = "".join(json.dumps(sealed(line)) + "\n" for line in lines)
        self._write(self._metrics, lambda path: path.write_text(text))

    def write_state(self, state: dict[str, Any]) -> None:
        """Write state.pt, from which a resumed run goes on: values that ``torch.load(weights_only=True)`` reads."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        whole = sealed_bytes(buffer.getvalue())
        self._write(self._state, lambda path: path.write_bytes(whole))

    def read_state(self) -> dict[str, Any] | None:
        """What ``write_state`` wrote last; None where there is no such file.

        Raises:
            SpikeproofError: the file is damaged.
        """
        if not self._state.is_file():
            return None
        content = unsealed_bytes(self._state.read_bytes())
        if content is None:
            raise SpikeproofError(
                f"{self._state} is damaged: it is not what was written (its checksum differs); remove {self.path} and "
                "train again, or restore it from a copy."
            )
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"it holds a {type(state).__name__}")
        except (RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise SpikeproofError(
                f"{self._state} cannot be read ({reason}); use the version that wrote it, or remove {self.path} and "
                "train again."
            ) from None
        return state

    def write_weights(self, write: Callable[[Path], object]) -> None:
        """Write the final weights and remove the state, which is not needed any more.

        Args:
            write: writes the weights to the path that it is given.
        """
        self._write(self.weights, write)
        self.forget_state()

    def _write(self, target: Path, write: Callable[[Path], object]) -> None:
        if self._text is not None and not self._config.is_file():
            # Someone removed the folder: it is made again, so that hours of work are not lost.
            text = self._text
            print(f"spikeproof: {self.path} was removed while its run goes on; it is made again.", file=sys.stderr)
            write_atomically(self._config, lambda path: path.write_text(text))
        write_atomically(target, write)

    def forget_state(self) -> None:
        """Remove state.pt, if it is there."""
        self._state.unlink(missing_ok=True)
