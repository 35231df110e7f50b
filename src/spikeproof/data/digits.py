"""scikit-learn's embedded 8x8 handwritten digits: real data that needs no download."""

from __future__ import annotations

import numpy as np
import torch

from spikeproof.data.pool import ImagePool, pool_of_pixels

_TEST_IMAGES = 500
# The set has no official split; this seed makes one, and results are only comparable while it stays.
_SPLIT_SEED = 0


def open_digits() -> tuple[ImagePool, ImagePool]:
    """The 1797 digits as a training pool of 1297 and a test pool of 500, stratified by class.

    Returns:
        (train, test), images uint8 ``[N, 1, 8, 8]`` with scikit-learn's 0..16 stretched to 0..255.

    Example:
        >>> train, test = open_digits()
        >>> len(train), len(test)
        (1297, 500)
    """
    # scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    class_names = tuple(str(name) for name in digits.target_names)
    split = train_test_split(
        np.arange(len(labels)), test_size=_TEST_IMAGES, stratify=digits.target, random_state=_SPLIT_SEED
    )
    train_rows, test_rows = (torch.from_numpy(rows) for rows in split)
    return (
        pool_of_pixels("the digits' training set", images[train_rows], labels[train_rows], class_names),
        pool_of_pixels("the digits' test set", images[test_rows], labels[test_rows], class_names),
    )
