"""Instances of site.cpp: one for each function, dtype and set of words, compiled once a machine and kept on disk.

An instance takes half a second to compile and serves every size. It is loaded by ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from spikeproof.disk import is_sealed_behind, sealed_behind, write_atomically
from spikeproof.machine.compiling import compiling
from spikeproof.spiking.ops.kernel_folder import cpp_compiler, machine, own_folder, tell

_SOURCE = Path(__file__).with_name("site.cpp")
_HEADERS = ("call.h", "lanes.h", "blocks.h", "margins.h")
# No fused multiply-add: spikes and margins are then the reference's to the bit.
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-trapping-math",
    "-fno-math-errno",
    "-Wno-psabi",
)
_OPENMP = ("-fopenmp",) if sys.platform == "linux" else ()
# Bytes of a vector and the compiler's options, by the vector units that torch uses.
_VECTORS = {"AVX512": (64, ()), "AVX2": (32, ("-mno-avx512f",)), "DEFAULT": (16, ("-mno-avx",))}
# How many steps of the loop over time stand side by side in the code: more costs the compiler seconds.
_UNROLL = {"backward": 8}
_MOST_UNROLL = 16
_POOLED_BYTES = 32  # a block is 8 channels of each corner then, and a vector must not be wider
TYPES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float64: "double"}
# The macros that site.cpp must be given; their meanings stand there.
WORDS = dict.fromkeys(
    (
        "STEPS",
        *(
            "SOFT",
            "POOLED",
            "SCALED",
            "SHARED",
            "NOISY",
            "DECAY_BY",
            "GAIN_BY",
            "SHARPNESS_BY",
            "MOVING_BY",
            "SURROGATE",
        ),
        *("COST", "MOMENTS", "MARGINS", "AFTER_RESET", "SPIKING", "FOLLOWS", "RATE", "LEARNS"),
    ),
    0,
)


_INT, _DOUBLE, _POINTER = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class Call(ctypes.Structure):
    """The arguments of an instance, field by field as in call.h."""

    _fields_ = [
        *((name, _INT) for name in ("K", "N", "H", "W", "C", "noise_stride", "threads")),
        *((name, _DOUBLE) for name in ("decay", "threshold", "through", "reset_by")),
        ("surrogate_at", _DOUBLE * 2),
        ("cost_at", _DOUBLE * 3),
        *((name, _DOUBLE) for name in ("noise_std", "momentum", "relax", "omega", "rga_slope")),
        *((name, _POINTER) for name in ("values", "scale", "shift", "decays", "gains", "sharpness", "adaptation")),
        *((name, _POINTER) for name in ("setpoint", "mean", "spread", "noise", "spikes", "margin", "total", "squares")),
        *((name, _POINTER) for name in ("cost_total", "new_mean", "new_spread", "new_sharpness", "rates", "g_spikes")),
        *((name, _POINTER) for name in ("g_total", "g_squares", "g_cost", "middle", "g_values", "sum")),
        *((name, _POINTER) for name in ("sum_with_values", "g_decays", "g_gains", "g_sharpness", "g_adaptation")),
    ]


class NoCompiler(Exception):
    """There is no C++ compiler on this machine."""


class NotBuilt(Exception):
    """An instance could not be compiled or loaded."""


@functools.cache
def instance(function: str, dtype: torch.dtype, words: tuple[int, ...]) -> Callable[[int], None]:
    """The function of site.cpp with this name, compiled for a dtype and the values of ``WORDS``.

    Args:
        function: such as "forward".
        dtype: one of ``TYPES``.
        words: a whole number for each of ``WORDS``, in their order.

    Returns:
        A function of the address of a :class:`Call`.

    Raises:
        NoCompiler: there is no compiler.
        NotBuilt: the compiler failed, or the library could not be loaded.
    """
    compiler = cpp_compiler()
    if compiler is None:
        raise NoCompiler
    values = dict(zip(WORDS, words, strict=True))
    widest, units = _VECTORS.get(torch.backends.cpu.get_cpu_capability(), _VECTORS["DEFAULT"])
    options = [*_FLAGS, *_OPENMP, *(units if platform.machine() in ("x86_64", "AMD64") else ())]
    options += [
        f"-DINSTANCE={function}",
        f"-DIN={TYPES[dtype]}",
        *(f"-D{word}={value}" for word, value in values.items()),
    ]
    options.append(f"-DUNROLL={_UNROLL.get(function, _MOST_UNROLL)}")
    options.append(f"-DBYTES={min(widest, _POOLED_BYTES) if values['POOLED'] else widest}")
    identity = repr((_source_digest(), options, _version(compiler), machine(torch.device("cpu"))))
    name = f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.so"
    folder = own_folder()
    path = None if folder is None else folder / name
    try:
        if path is not None:
            # One that cannot be read (damaged) or loaded is made again.
            with contextlib.suppress(OSError):
                return _loaded(path)
        return _made(compiler, options, path)
    except OSError as error:
        raise NotBuilt(f"{type(error).__name__}: {error}") from None


@compiling()
def _made(compiler: str, options: list[str], path: Path | None) -> Callable[[int], None]:
    tell()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "site.so"
        command = [compiler, *options, "-shared", "-fPIC", str(_SOURCE), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise NotBuilt(done.stderr.strip() or f"the compiler ended with {done.returncode}")
        if path is not None:
            with contextlib.suppress(OSError):  # a full disk costs the next process its warm start
                whole = sealed_behind(library.read_bytes())
                write_atomically(path, lambda temporary: temporary.write_bytes(whole))
                return _loaded(path)
        return _entry(library)  # what is loaded stays when its file goes


def _loaded(path: Path) -> Callable[[int], None]:
    if not is_sealed_behind(path.read_bytes()):
        raise OSError(f"{path} is not what was written")
    return _entry(path)


def _entry(library: Path) -> Callable[[int], None]:
    loaded = ctypes.CDLL(str(library))
    if ctypes.c_int64.in_dll(loaded, "size_of_call").value != ctypes.sizeof(Call):
        raise NotBuilt("error: spikeproof was changed while it ran; start again")
    entry = loaded.run
    entry.argtypes, entry.restype = [_POINTER], None
    call: Callable[[int], None] = entry
    return call


@functools.cache
def _source_digest() -> str:
    files = [_SOURCE, *(_SOURCE.with_name(name) for name in _HEADERS)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _version(compiler: str) -> tuple[str, int, int]:
    """What changes when the compiler does."""
    path = Path(compiler).resolve()
    return str(path), path.stat().st_size, path.stat().st_mtime_ns
