"""How much faster the fused site is than the reference: forward and backward with moments, ratios in one process.

    python benchmarks/site_kernels.py

Both run the same equations at equal numerics (tests/spiking). Times are medians of 7 after 3 warm-ups.
"""

import statistics
import time

import torch

from spikeproof.spiking import Kernels, Neuron, Site, probe


def seconds(kernels: Kernels, shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """Median time of one forward and backward with moments."""
    site = Site(Neuron(), num_steps=4, kernels=kernels)
    current = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    times = []
    for repeat in range(10):
        began = time.perf_counter()
        with probe(site, "moments") as record:
            spikes = site(current)
        (spikes.float().sum() + record[""].moments()[1].sum()).backward()
        if repeat >= 3:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print a row for each layer shape of a quarter-width VGG11 at batch 64, T=4."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, T=4, merged batch 256")
    for shape in ((256, 16, 32, 32), (256, 64, 16, 16), (256, 128, 8, 8)):
        for dtype in (torch.float32, torch.bfloat16):
            slow, fast = seconds("reference", shape, dtype), seconds("fused", shape, dtype)
            print(f"{shape!s:20} {dtype!s:15} {1e3 * slow:7.1f} ms {1e3 * fast:7.1f} ms  ratio {slow / fast:4.1f}")


if __name__ == "__main__":
    main()
