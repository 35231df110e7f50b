"""Where compiled kernels are kept, how the machine is named in their files, and the warnings when there are none.

Kernels are run, so they lie in a folder that only this user can write to, and have a checksum.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import platform
import shutil
import warnings
from pathlib import Path

import torch

_log = logging.getLogger(__name__)
_failures: list[str] = []  # why the first kernel that failed could not be built


def cpp_compiler() -> str | None:
    """The path of the C++ compiler: $CXX, else g++ or clang++; None where there is none."""
    named = os.environ.get("CXX")
    paths = (shutil.which(candidate) for candidate in ([named] if named else ["g++", "clang++"]))
    return next((path for path in paths if path), None)


def compiler_available(device: torch.device) -> bool:
    """Whether kernels can be built for this device here (a C++ compiler, or Triton on CUDA)."""
    if device.type == "cpu":
        return cpp_compiler() is not None
    return importlib.util.find_spec("triton") is not None


def cache_folder() -> Path:
    """Where kernels are kept: $SPIKEPROOF_CACHE_DIR, else spikeproof/kernels in the user's cache folder."""
    named = os.environ.get("SPIKEPROOF_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeproof" / "kernels"


def own_folder() -> Path | None:
    """The cache folder, or a folder of this user in it, that only this user can write to; None where there is none."""
    user = os.getuid() if os.name == "posix" else 0
    folder = cache_folder()
    for candidate in (folder, folder / f"user-{user}"):
        with contextlib.suppress(OSError):
            candidate.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = candidate.stat()
            own = os.name != "posix" or (status.st_uid == user and not status.st_mode & 0o022)
            if own and os.access(candidate, os.W_OK):
                return candidate
    return None


def machine(device: torch.device) -> str:
    """What a kernel is made for: the CPU's features and the vector units in use, or the GPU and its number.

    Args:
        device: "cpu", or a CUDA device; without an index the current one.
    """
    if device.type == "cuda":
        # The compiler writes the index of the device into a kernel: another GPU's launches there.
        index = torch.cuda.current_device() if device.index is None else device.index
        return f"{torch.cuda.get_device_name(index)} {torch.version.cuda} cuda:{index}"
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_cpu_features()}"


@functools.cache
def tell() -> None:
    """Log, once a process, that kernels are being compiled."""
    _log.info("compiling kernels, once on this machine")


def warn_of_failure(said: str) -> None:
    """Warn, once a process, that a kernel could not be built and that the reference runs in its place.

    Args:
        said: the compiler's output or the error; its first line with "error" is quoted.
    """
    if not _failures:
        _failures.append(said)
        line = next((line for line in said.splitlines() if "error" in line.lower()), said.splitlines()[0])
        warnings.warn(
            f"A kernel could not be built ({line.strip()[:200]}), so the reference runs in its place: the same "
            "numbers, slower. Mend the compiler, or choose kernels='reference' (--model.kernels reference).",
            RuntimeWarning,
            stacklevel=4,
        )


def warn_without_compiler(device: torch.device) -> None:
    """Warn, once a process and kind of device, that the reference runs in the place of the fused kernels."""
    _warn_once(device.type)


@functools.cache
def _warn_once(device_type: str) -> None:
    warnings.warn(
        f"No compiler for {device_type} was found, so the reference kernels run instead of the fused ones: the same "
        "numbers, slower. Install g++ (CPU) or triton (CUDA) to mend this.",
        RuntimeWarning,
        stacklevel=4,
    )


@functools.cache
def _cpu_features() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):  # x86, ARM
                return line
    return platform.processor()
