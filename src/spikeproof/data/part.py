"""Which images a part of a split has: drawn by a seed, every class in its share, whatever the order of the files."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor


def balanced_order(labels: Int64[Tensor, " n"], seed: int = 0) -> Int64[Tensor, " n"]:
    """All rows in a random order whose first rows, however many, have each class in its share.

    If all classes are equally large, their counts among the first rows never differ by more than one. A smaller part
    lies inside a larger one.

    Args:
        labels: int64 [N], each >= 0.
        seed: of the draw; the result depends on it and the labels alone.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> order = balanced_order(labels)
        >>> sorted(labels[order[:2]].tolist()), sorted(labels[order[2:4]].tolist())
        ([0, 1], [0, 1])
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_row = labels.cpu()[shuffled]
    # The i-th image of a class of n comes at a random place in [i/n, (i+1)/n).
    by_class = by_row.argsort(stable=True)
    counts = torch.bincount(by_row) if len(by_row) else by_row
    begins = counts.cumsum(0) - counts
    rank = torch.empty(len(by_row), dtype=torch.float64)
    rank[by_class] = (torch.arange(len(by_row)) - begins[by_row[by_class]]).double()
    position = (rank + torch.rand(len(by_row), generator=generator, dtype=torch.float64)) / counts[by_row]
    return shuffled[position.argsort()]
