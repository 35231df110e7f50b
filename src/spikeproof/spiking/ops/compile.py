"""Compiled twins of pure functions of tensors, kept on disk: a kernel is compiled once a machine, not once a process.

``torch.compile``'s backend (Inductor: C++ on a CPU, Triton on CUDA) compiles the traced function with symbolic sizes,
so that one kernel serves every layer and batch size. Where the machine has no compiler, or it fails, the function
itself runs, with one warning.

What is on disk is unpickled and run: see ``kernel_folder.py``. The compiler works in a folder of this process alone. In
a shared one it would load what another process left, damaged or for another kind of machine, without any check.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeproof.disk import sealed_bytes, unsealed_bytes, why_no_locks, write_atomically
from spikeproof.machine.compiling import compiling
from spikeproof.spiking.ops.kernel_folder import machine, own_folder, tell, warn_of_failure

Function = Callable[..., Sequence[Tensor]]

# Without dynamic_threads a kernel would keep the thread count of the process that compiled it. vec_isa_ok trusts what
# the CPU reports of its vector units, where the default compiles and runs a program for each kind of them.
_OPTIONS = {"cpp.dynamic_threads": True, "cpp.vec_isa_ok": True}


def compiled(function: Function, key: str, arguments: Sequence[Tensor], static: Sequence[Sequence[int]]) -> Function:
    """The compiled twin of ``function`` for tensors of these dtypes and ranks.

    Args:
        function: takes the tensors one by one and returns a sequence of tensors; no other state.
        key: says what the function computes; with dtypes, ranks, device and versions it names the kernel on disk.
        arguments: examples. Their sizes are taken as symbols, equal sizes as one symbol, so unrelated sizes must
            differ and be at least 2.
        static: of each argument, the dimensions whose size is part of the kernel.

    Returns:
        The twin; the function itself, with one warning, where it cannot be compiled.
    """
    shapes = [
        (str(a.dtype), [size if d in fixed else 0 for d, size in enumerate(a.shape)])
        for a, fixed in zip(arguments, static, strict=True)
    ]
    identity = repr((key, shapes, _sources(), torch.__version__, machine(arguments[0].device)))
    folder = own_folder()
    path = None if folder is None else folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.bin"
    with _undisturbed(folder):
        if path is not None and path.is_file():
            # A kernel that cannot be read (damaged, an older format) is made again.
            with contextlib.suppress(Exception):
                return _load(path)
        tell()
        try:
            artifact = _compile(function, arguments, static)
        except Exception as error:  # the compiler's own, of any kind: a space in a path, a full disk, no headers
            warn_of_failure(f"{type(error).__name__}: {error}")
            return function
        if path is not None:
            with contextlib.suppress(OSError):  # a full disk costs the next process its warm start
                _save(artifact, path)
        return artifact


@compiling()
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


def _save(artifact: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unchecked = Path(folder) / "kernel"
        artifact.save(path=str(unchecked), format="binary")
        whole = sealed_bytes(unchecked.read_bytes())
    write_atomically(path, lambda temporary: temporary.write_bytes(whole))


def _load(path: Path) -> Function:
    from torch._inductor import CompiledArtifact, config

    content = unsealed_bytes(path.read_bytes())
    if content is None:
        raise ValueError(f"{path} is not what was written")
    with tempfile.TemporaryDirectory() as folder, config.patch(_OPTIONS):
        checked = Path(folder) / "kernel"
        checked.write_bytes(content)
        loaded: Function = CompiledArtifact.load(path=str(checked), format="binary")
    return loaded


@contextlib.contextmanager
def _undisturbed(folder: Path | None) -> Any:
    """No warnings (the compiler talks to itself), no garbage collector (a tenth of the time, walking its objects), and
    the compiler's own files in a folder of this process."""
    collecting, before = gc.isenabled(), os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    gc.disable()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_workshop(folder, os.getpid()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", message="A kernel could not be built")
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
def _workshop(folder: Path | None, process: int) -> Path:
    """Where the compiler keeps its own files while this process lives.

    Its precompiled headers alone, which take seconds to make and are read by the C++ compiler only, stay for the next.
    """
    # The compiler does not quote paths.
    bases = [None, *(base for base in ("/tmp", "/var/tmp", "/dev/shm") if os.access(base, os.W_OK))]
    base = next((base for base in bases if " " not in (base or tempfile.gettempdir())), None)
    workshop = Path(tempfile.mkdtemp(prefix="spikeproof-kernels-", dir=base))
    atexit.register(_remove, workshop, process)
    if folder is not None:
        with contextlib.suppress(OSError):
            headers = folder / "headers" / hashlib.sha256(machine(torch.device("cpu")).encode()).hexdigest()[:16]
            headers.mkdir(parents=True, exist_ok=True)
            if why_no_locks(headers) is None:  # the compiler would wait ten minutes for a lock that cannot be had
                (workshop / "precompiled_headers").symlink_to(headers.resolve())
    return workshop


def _remove(workshop: Path, process: int) -> None:
    if os.getpid() == process:  # and not in a child that was forked from it
        shutil.rmtree(workshop, ignore_errors=True)


@functools.cache
def _sources() -> str:
    """The text of every module that a kernel is traced from, hashed: an edit makes new kernels."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "neuron.py", here.parent / "surrogate.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
