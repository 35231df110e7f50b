"""Event data from data sets in Python: of tonic, or any that give (frames, label)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from spikeproof.data.frames import check_frames, frames_as_levels
from spikeproof.data.image_set import Data
from spikeproof.data.load import split_pools
from spikeproof.data.pool import ImagePool, pool_of_pixels
from spikeproof.disk import user_path
from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.kinds import check_kinds


@runtime_checkable
class Samples(Protocol):
    """A data set of Python: how many samples it has, and each of them, (frames, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@check_kinds
def load_frames(
    train: Samples,
    test: Samples,
    *,
    name: str = "frames",
    class_names: Sequence[str] | None = None,
    validation: int | None = None,
    seed: int = 0,
) -> Data:
    """Event data of two data sets of Python, such as tonic's with its ``ToFrame(n_time_bins=T)``.

    Every sample is read once and kept. Values become levels from 0 to 255 as those of an npz do: floats in [0, 1] are
    rounded, counts of events divided by the largest of the training frames.

    Args:
        train, test: ``len(set)``, and ``set[i]`` is (frames [T,C,H,W], label); all of one shape, labels 0 .. K-1.
        name: as reports call the data.
        class_names: the K names; None takes ``train.classes``, else the numbers.
        validation: samples in the validation split, taken from the training samples; by default a tenth, at most 1000.
        seed: of their shuffle.

    Returns:
        uint8 frames ``[N, T, C, H, W]``, with mean and std of all training frames for each channel.

    Raises:
        SpikeproofError: samples of several shapes or of another rank, values that are neither counts nor in [0, 1],
            labels that are no whole numbers, or no samples.

    Example:
        >>> samples = [(np.eye(4).reshape(1, 1, 4, 4).repeat(3, 0), label) for label in (0, 1, 0, 1)]
        >>> data = load_frames(samples, samples, validation=2)
        >>> data.train, data.frames
        (ImageSet(2 images of 3x1x4x4, 2 classes, cpu), 3)
    """
    where = (f"the training set of {name}", f"the test set of {name}")
    (x_train, y_train), (x_test, y_test) = (_read(each, at) for each, at in zip((train, test), where, strict=True))
    first, second, notes = frames_as_levels(x_train, x_test, where)
    names = class_names if class_names is not None else getattr(train, "classes", None)
    if names is None:
        names = [str(label) for label in range(int(y_train.max()) + 1)]
    named = tuple(map(str, names))
    pools: list[ImagePool] = [
        pool_of_pixels(at, torch.from_numpy(x), torch.from_numpy(y), named, notes)
        for at, x, y in zip(where, (first, second), (y_train, y_test), strict=True)
    ]
    return split_pools(pools[0], pools[1], title=name, validation=validation, seed=seed)


@check_kinds
def load_tonic(name: str, *, frames: int, folder: str | Path, validation: int | None = None, seed: int = 0) -> Data:
    """A data set of tonic as frames: its events in ``frames`` bins of equal time.

    Needs tonic: ``pip install 'spikeproof[events]'``. tonic is under the GPL, so it is no part of spikeproof and is
    loaded here alone. It downloads what is not in ``folder``; the terms of each data set are its owners'.

    Args:
        name: of a class of ``tonic.datasets`` that has a training and a test split, such as "NMNIST" or "DVSGesture".
            Split others, such as CIFAR10DVS, yourself and take :func:`load_frames`.
        frames: T.
        folder: where tonic keeps its files.
        validation, seed: as in :func:`load_frames`.

    Raises:
        SpikeproofError: tonic is not installed, has no such data set, or cannot make it with these splits.

    Example:
        >>> data = load_tonic("NMNIST", frames=10, folder="data")  # doctest: +SKIP
    """
    try:
        import tonic
    except ImportError:
        raise SpikeproofError(
            "load_tonic needs tonic, which is not installed: pip install 'spikeproof[events]', or save frames "
            "[N,T,C,H,W] with numpy.savez and give load_data the file."
        ) from None
    kind: Any = getattr(tonic.datasets, name, None)
    if kind is None:
        raise SpikeproofError(f"tonic.datasets has no {name!r}; give the name of one of its classes, such as 'NMNIST'.")
    try:
        to_frames = tonic.transforms.ToFrame(sensor_size=kind.sensor_size, n_time_bins=frames)
        train, test = (
            kind(save_to=str(user_path(folder)), train=split, transform=to_frames) for split in (True, False)
        )
    except FAILURES as error:
        raise SpikeproofError(
            f"tonic cannot make {name} with a training and a test split ({first_line(error)}); make its data sets "
            "yourself and give them to load_frames."
        ) from error
    return load_frames(train, test, name=name, validation=validation, seed=seed)


def _read(samples: Samples, where: str) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a data set, [N,T,C,H,W], and its labels."""
    frames: list[np.ndarray] = []
    labels: list[int] = []
    for index in range(len(samples)):
        sample = samples[index]
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise SpikeproofError(f"Sample {index} of {where} is no pair of frames and a label; give such pairs.")
        seen, label = np.asarray(sample[0]), np.asarray(sample[1])
        if frames and seen.shape != frames[0].shape:
            raise SpikeproofError(
                f"Sample {index} of {where} has frames {list(seen.shape)}, and those before have "
                f"{list(frames[0].shape)}; give all as many frames, as tonic's ToFrame(n_time_bins=T) does."
            )
        if label.size != 1 or not np.issubdtype(label.dtype, np.integer):
            raise SpikeproofError(
                f"The label of sample {index} of {where} is {sample[1]!r:.80}; labels are whole numbers from 0."
            )
        frames.append(seen)
        labels.append(int(label))
    if not frames:
        raise SpikeproofError(f"{where[0].upper()}{where[1:]} holds no samples; check what was given.")
    x = np.stack(frames)
    check_frames(where, x)
    return x, np.array(labels, dtype=np.int64)
