"""Which images a part of a split has: drawn by a seed, every class in its share, whatever order the files lie in."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor


def balanced_order(labels: Int64[Tensor, " n"], seed: int = 0) -> Int64[Tensor, " n"]:
    """All rows in a random order of which every beginning has each class in its share.

    Of a split whose classes are equally large, no class is ever ahead of another by more than one image. Parts of
    different sizes lie within each other.

    Args:
        labels: int64 [N], each >= 0.
        seed: of the draw, which the labels and it alone decide.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> order = balanced_order(labels)
        >>> sorted(labels[order[:2]].tolist()), sorted(labels[order[2:4]].tolist())
        ([0, 1], [0, 1])
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    theirs = labels.cpu()[shuffled]
    # The i-th image of a class of n comes at a random place in [i/n, (i+1)/n).
    by_class = theirs.argsort(stable=True)
    counts = torch.bincount(theirs) if len(theirs) else theirs
    begins = counts.cumsum(0) - counts
    rank = torch.empty(len(theirs), dtype=torch.float64)
    rank[by_class] = (torch.arange(len(theirs)) - begins[theirs[by_class]]).double()
    place = (rank + torch.rand(len(theirs), generator=generator, dtype=torch.float64)) / counts[theirs]
    return shuffled[place.argsort()]
