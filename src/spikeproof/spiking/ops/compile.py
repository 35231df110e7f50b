"""Compiled twins of pure functions of tensors, kept on disk: a kernel is compiled once a machine, not once a process.

``torch.compile``'s backend (Inductor: C++ on a CPU, Triton on CUDA) compiles the traced function with symbolic sizes,
so that one kernel serves every layer and batch size. Where the machine has no compiler the function itself runs, with
one warning.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import hashlib
import importlib.util
import os
import pickle
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeproof.atomic import write_atomically

Function = Callable[..., Sequence[Tensor]]

# Without dynamic_threads a kernel would hold the thread count of the process that compiled it. vec_isa_ok takes the
# CPU's word for its vector units, where the default compiles and runs a program for each kind of them.
_OPTIONS = {"cpp.dynamic_threads": True, "cpp.vec_isa_ok": True}


def compiler_available(device: torch.device) -> bool:
    """Whether kernels can be built for this device here (a C++ compiler, or Triton on CUDA)."""
    if device.type == "cpu":
        named = os.environ.get("CXX")
        return any(shutil.which(candidate) for candidate in ([named] if named else ["g++", "clang++"]))
    return importlib.util.find_spec("triton") is not None


def cache_folder() -> Path:
    """Where kernels are kept: $SPIKEPROOF_CACHE_DIR, else spikeproof/kernels in the user's cache folder."""
    named = os.environ.get("SPIKEPROOF_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeproof" / "kernels"


def compiled(function: Function, key: str, arguments: Sequence[Tensor], static: Sequence[Sequence[int]]) -> Function:
    """The compiled twin of ``function`` for tensors of these dtypes and ranks.

    Args:
        function: takes the tensors one by one and returns a sequence of tensors; no other state.
        key: says what the function computes; with dtypes, ranks, device and versions it names the kernel on disk.
        arguments: examples. Their sizes are taken as symbols, equal sizes as one symbol, so unrelated sizes must
            differ and be at least 2.
        static: of each argument, the dimensions whose size is part of the kernel.
    """
    shapes = [
        (str(a.dtype), [size if d in fixed else 0 for d, size in enumerate(a.shape)])
        for a, fixed in zip(arguments, static, strict=True)
    ]
    identity = repr((key, shapes, _sources(), torch.__version__, _machine(arguments[0].device)))
    path = cache_folder() / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.bin"
    with _undisturbed():
        if path.is_file():
            # A kernel that cannot be read (an older format, a disk that was full) is made again.
            with contextlib.suppress(OSError, RuntimeError, ValueError, EOFError, AssertionError, pickle.PickleError):
                return _load(path)
        artifact = _compile(function, arguments, static)
        with contextlib.suppress(OSError):  # a folder that cannot be written costs the next process its warm start
            write_atomically(path, lambda temporary: artifact.save(path=str(temporary), format="binary"))
        return artifact


def warn_without_compiler(device: torch.device) -> None:
    """Say, once a process and device, that the reference runs in the place of the fused kernels."""
    _warn_once(device.type)


@functools.cache
def _warn_once(device_type: str) -> None:
    warnings.warn(
        f"No compiler for {device_type} was found, so the reference kernels run instead of the fused ones: the same "
        "numbers, slower. Install g++ (CPU) or triton (CUDA) to mend this.",
        RuntimeWarning,
        stacklevel=4,
    )


def _compile(function: Function, arguments: Sequence[Tensor], static: Sequence[Sequence[int]]) -> Any:
    # Not at import: these load the compiler, which takes a second or two.
    from torch._inductor import standalone_compile
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode = FakeTensorMode(shape_env=ShapeEnv())
    fakes: list[Tensor | int | torch.SymInt | None] = [
        mode.from_tensor(
            argument,
            symbolic_context=StatelessSymbolicContext(
                dynamic_sizes=[DimDynamic.STATIC if d in fixed else DimDynamic.DUCK for d in range(argument.ndim)]
            ),
        )
        for argument, fixed in zip(arguments, static, strict=True)
    ]
    with mode:
        graph = make_fx(function)(*fakes)
    return standalone_compile(graph, fakes, dynamic_shapes="from_graph", options={"config_patches": _OPTIONS})


def _load(path: Path) -> Function:
    from torch._inductor import CompiledArtifact, config

    with config.patch(_OPTIONS):
        loaded: Function = CompiledArtifact.load(path=str(path), format="binary")
    return loaded


@contextlib.contextmanager
def _undisturbed() -> Any:
    """No warnings (the compiler talks to itself), no garbage collector (a tenth of the time, walking its objects), and
    the compiler's own files beside ours: they hold the machine code."""
    collecting, before = gc.isenabled(), os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    gc.disable()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_workshop(cache_folder(), _machine(torch.device("cpu"))))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
        else:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
        gc.collect(0)  # what a compilation leaves behind is all young, and as much as some hundred megabytes
        if collecting:
            gc.enable()


@functools.cache
def _workshop(folder: Path, machine: str) -> Path:
    """Where the compiler keeps its own files: among our kernels, or in this process's own folder if that cannot be.

    Each kind of machine has another, as the compiler would take up code that it wrote for other vector units.
    """
    workshop = folder / "inductor" / hashlib.sha256(machine.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        workshop.mkdir(parents=True, exist_ok=True)
        if os.access(workshop, os.W_OK):
            return workshop
    own = Path(tempfile.mkdtemp(prefix="spikeproof-kernels-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


@functools.cache
def _sources() -> str:
    """The text of every module that a kernel is traced from, hashed: an edit makes new kernels."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "neuron.py", here.parent / "surrogate.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        # The compiler writes the index of the device into a kernel: another GPU's launches there.
        index = torch.cuda.current_device() if device.index is None else device.index
        return f"{torch.cuda.get_device_name(index)} {torch.version.cuda} cuda:{index}"
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_cpu_features()}"


@functools.cache
def _cpu_features() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):  # x86, ARM
                return line
    return platform.processor()
