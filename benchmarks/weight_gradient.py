"""When three matrix products beat the library's weight gradient of a 3x3 convolution: where Conv3x3's rule comes from.

    python benchmarks/weight_gradient.py

bfloat16, channels last, 64 merged samples; medians of 7 after 2 warm-ups, the two in turn.
"""

import statistics
import time

import torch

from spikeproof.models.convolution import weight_gradient

SHAPES = (
    (16, 32, 16),
    (32, 64, 16),
    (64, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (64, 128, 8),
    (128, 128, 8),
    (256, 256, 8),
    (256, 512, 8),
    (512, 512, 8),
    (64, 64, 4),
    (128, 128, 4),
    (512, 512, 4),
)


def main() -> None:
    """Print a row a shape."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for inner, outer, size in SHAPES:
        x = (torch.rand(64, inner, size, size) > 0.7).bfloat16().contiguous(memory_format=torch.channels_last)
        grad = torch.randn(64, outer, size, size).bfloat16().contiguous(memory_format=torch.channels_last)
        weight = torch.zeros(outer, inner, 3, 3).bfloat16().contiguous(memory_format=torch.channels_last)
        how = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
        times: dict[str, list[float]] = {"library": [], "products": []}
        for repeat in range(9):
            for name in times:
                began = time.perf_counter()
                if name == "library":
                    torch.ops.aten.convolution_backward(grad, x, weight, None, *how)
                else:
                    weight_gradient(x, grad)
                if repeat >= 2:
                    times[name].append(1e3 * (time.perf_counter() - began))
        library, products = (statistics.median(found) for found in times.values())
        print(
            f"{inner:4} -> {outer:4} at {size:2}x{size:<2} library {library:7.2f} ms, products {products:7.2f} ms, "
            f"ratio {library / products:4.1f}"
        )


if __name__ == "__main__":
    main()
