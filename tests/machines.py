"""Run tests as other machines would: ``python tests/machines.py [PATH or pytest option ...] [--machines NAME ...]``.

A CPU with AVX-512 can play older ones, and what they have in common with all others: that they round otherwise. Each
machine has kernels of its own, which are compiled first. Prints what each ended with, and its seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

ROUNDING = Path(__file__).parent / "other_rounding"
VECTORS = {  # what ATen, and what oneDNN may use
    "plain": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}  # the processes share two cores
MACHINES = {
    **{name: units | {"OMP_NUM_THREADS": "1"} for name, units in VECTORS.items()},
    "two-threads": {"OMP_NUM_THREADS": "2"},
    "rounding-1": {"OMP_NUM_THREADS": "1", "ROUNDING": "1", "PYTHONPATH": str(ROUNDING)},
    "rounding-2": {"OMP_NUM_THREADS": "1", "ROUNDING": "2", "PYTHONPATH": str(ROUNDING)},
}


def can_be_played(name: str) -> bool:
    """Whether this CPU has the vector units."""
    has = torch.backends.cpu.get_cpu_capability()
    return {"avx2": has in ("AVX2", "AVX512"), "avx512": has == "AVX512"}.get(name, True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", nargs="+", choices=MACHINES, default=list(MACHINES))
    chosen, tests = parser.parse_known_args()
    ended = {}
    for name in chosen.machines:
        if not can_be_played(name):
            ended[name] = "not run: this CPU cannot play it"
            continue
        print(f"--- {name}: {' '.join(f'{key}={value}' for key, value in MACHINES[name].items())}", flush=True)
        began = time.monotonic()
        processes = "1" if MACHINES[name]["OMP_NUM_THREADS"] == "2" else "2"
        words = [
            sys.executable,
            "-m",
            "pytest",
            "--numprocesses",
            processes,
            "--dist",
            "loadfile",
            "-m",
            "not thorough",
            *tests,
        ]
        code = subprocess.run(words, env=os.environ | PASSIVE | MACHINES[name], check=False).returncode
        ended[name] = f"{'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - began:.0f} s"
    print("\n".join(f"{name:12} {how}" for name, how in ended.items()))
    sys.exit(any("FAILED" in how for how in ended.values()))


if __name__ == "__main__":
    main()
