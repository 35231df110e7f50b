"""Frames of event cameras: how many events each pixel saw in each step, as values that all rooms can take."""

from __future__ import annotations

import numpy as np

from spikeproof.errors import SpikeproofError

_POLARITIES = range(1, 5)


def check_frames(where: str, x: np.ndarray) -> None:
    """Refuse an array that is not [N,T,C,H,W] with 1 to 4 channels.

    Args:
        where: how the message calls it.
        x: the array.

    Raises:
        SpikeproofError: another shape.
    """
    if x.ndim != 5 or x.shape[2] not in _POLARITIES or 0 in x.shape[1:]:
        raise SpikeproofError(
            f"{where} has the shape {list(x.shape)}, but frames are [N, T, C, H, W]: T steps, and C from 1 to 4 "
            "channels, such as the two polarities of an event camera; move the axes."
        )


def frames_as_levels(
    train: np.ndarray, test: np.ndarray, where: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Frames as uint8, of which 255 is the largest value.

    Floats in [0, 1] are rounded to 256 levels. All else are counts of events, whole numbers from 0 on: they are divided
    by the largest count M of the training frames, so 0, 1, .., M become the levels round(255 n / M). A larger count of
    the test frames stands as M.

    Args:
        train, test: numbers or truth values [N,T,C,H,W].
        where: how messages call the two.

    Returns:
        Both as uint8, and what is to be said of them.

    Raises:
        SpikeproofError: NaN, negative values, fractions above 1, no event at all, or values that are no numbers.

    Example:
        >>> counts = np.array([0, 1, 3]).reshape(1, 1, 1, 1, 3)
        >>> levels, _, notes = frames_as_levels(counts, counts, ("train", "test"))
        >>> levels.ravel().tolist(), notes
        ([0, 85, 255], ('counts of events are divided by 3, the largest in a training frame',))
    """
    for name, x in zip(where, (train, test), strict=True):
        _check_values(name, x)
    if all(np.issubdtype(x.dtype, np.floating) and x.max(initial=0) <= 1 for x in (train, test)):
        first, second = (np.rint(x.astype(np.float32) * 255).astype(np.uint8) for x in (train, test))
        return first, second, ()
    for name, x in zip(where, (train, test), strict=True):
        _check_whole(name, x)
    most = int(train.max(initial=0))
    if most == 0:
        raise SpikeproofError(f"{where[0]} holds no event at all; check what was saved.")
    levels = np.rint(np.arange(most + 1) * 255 / most).astype(np.uint8)
    first, second = (levels[np.minimum(x, most).astype(np.int64)] for x in (train, test))
    notes = [f"counts of events are divided by {most}, the largest in a training frame"] if most > 1 else []
    above = int((test > most).sum())
    if above:
        notes.append(f"{above} larger counts of test frames stand as {most}")
    return first, second, tuple(notes)


def _check_values(where: str, x: np.ndarray) -> None:
    if x.dtype == np.bool_ or np.issubdtype(x.dtype, np.unsignedinteger):
        return
    if not np.issubdtype(x.dtype, np.integer) and not np.issubdtype(x.dtype, np.floating):
        raise SpikeproofError(f"{where} is {x.dtype}, but frames are counts of events, or floats in [0, 1].")
    # Written so that NaN, for which every comparison is false, counts as bad.
    bad = ~((x >= 0) & (x < np.inf)).all(axis=(1, 2, 3, 4))
    if bad.any():
        raise SpikeproofError(
            f"sample {int(bad.argmax())} of {where} has a value that is NaN, infinite or negative: frames are counts "
            "of events, or floats in [0, 1]; give polarities as two channels."
        )


def _check_whole(where: str, x: np.ndarray) -> None:
    if not np.issubdtype(x.dtype, np.floating):
        return
    bad = (x != np.rint(x)).any(axis=(1, 2, 3, 4))
    if bad.any():
        raise SpikeproofError(
            f"sample {int(bad.argmax())} of {where} has fractions, and some frame values above 1: frames are counts "
            "of events, whole numbers from 0 on, or floats in [0, 1]; divide by the largest."
        )
