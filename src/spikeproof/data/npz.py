"""NumPy archives of the user's own with ``x_train, y_train, x_test, y_test``."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from spikeproof.data.frames import check_frames, frames_as_levels
from spikeproof.data.pool import ImagePool, pool_of_pixels
from spikeproof.errors import SpikeproofError

_log = logging.getLogger(__name__)

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = range(1, 5)


def open_npz(path: Path) -> tuple[ImagePool, ImagePool]:
    """Read an archive whose x are images and whose y are labels 0 .. K-1, all of which ``y_train`` has.

    x may be ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with 1 to 4 channels; uint8, or floats in [0, 1],
    which are rounded to the nearest of 256 levels. Five axes are frames of event cameras, ``[N, T, C, H, W]``: counts
    of events, or floats in [0, 1] (:func:`spikeproof.data.frames.frames_as_levels`).

    Other arrays are left out, and named in the pools' notes and in a warning in the log.

    Args:
        path: of the archive.

    Returns:
        (train, test), images uint8 ``[N, C, H, W]``, or frames ``[N, T, C, H, W]``.

    Raises:
        SpikeproofError: naming the file, when it is damaged, lacks an array, or has one of another type, shape or
            range.
    """
    arrays, notes = _load(path)
    pixels, labels = {}, {}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        where = f"x_{split} of {path}"
        pixels[split] = x if _has_frames(arrays) else _to_uint8(where, _channels_first(where, x))
        if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(x) != len(y):
            raise SpikeproofError(
                f"y_{split} of {path} is {y.dtype} of shape {list(y.shape)}, but x_{split} of shape {list(x.shape)} "
                "needs whole numbers, one for each image: correct the labels."
            )
        labels[split] = y.astype(np.int64)
    if _has_frames(arrays):
        where_both = (f"x_train of {path}", f"x_test of {path}")
        for where, x in zip(where_both, pixels.values(), strict=True):
            check_frames(where, x)
        pixels["train"], pixels["test"], said = frames_as_levels(pixels["train"], pixels["test"], where_both)
        notes += said
    present = np.unique(labels["train"])
    if not np.array_equal(present, np.arange(len(present))):
        raise SpikeproofError(
            f"y_train of {path} has {len(present)} different labels from {present[0]} to {present[-1]}, "
            "but K classes must be numbered 0 to K-1 with none left out: renumber them."
        )
    class_names = tuple(str(label) for label in present)
    train, test = (
        pool_of_pixels(
            f"{path} ({split})", torch.from_numpy(pixels[split]), torch.from_numpy(labels[split]), class_names, notes
        )
        for split in ("train", "test")
    )
    return train, test


def _has_frames(arrays: dict[str, np.ndarray]) -> bool:
    return any(arrays[name].ndim == 5 for name in ("x_train", "x_test"))


def _load(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The four arrays, and a sentence on the others, which are left out."""
    try:
        # Opened here because numpy leaves a damaged archive open when it opens the file itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if missing:
                raise SpikeproofError(
                    f"{path} holds {', '.join(archive) or 'nothing'}, but {', '.join(missing)} is missing: "
                    f"save {', '.join(_KEYS)} with numpy.savez."
                )
            others = [key for key in archive if key not in _KEYS]
            arrays = {key: archive[key] for key in _KEYS}
    except SpikeproofError:
        raise
    except MemoryError as error:
        raise SpikeproofError(
            f"{path} says that its arrays have more numbers than this machine can hold ({error}): it is damaged, or "
            "must be split."
        ) from None
    except Exception as error:  # of a damaged archive zipfile, zlib or numpy may raise anything
        raise SpikeproofError(
            f"{path} cannot be read as an .npz archive of plain arrays: save it again with numpy.savez."
        ) from error
    if not others:
        return arrays, ()
    note = f"arrays that are left out: {', '.join(others)}"
    _log.warning("%s: %s", path, note)
    return arrays, (note,)


def _channels_first(where: str, x: np.ndarray) -> np.ndarray:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        first, last = x.shape[1] in _CHANNELS, x.shape[3] in _CHANNELS
        if first and not last:
            return x
        if last and not first:
            return x.transpose(0, 3, 1, 2)
    raise SpikeproofError(
        f"{where} has the shape {list(x.shape)}, which does not show where the channels are: "
        "give [N, H, W], or [N, H, W, C] or [N, C, H, W] with 1 to 4 channels and larger images, or frames "
        "[N, T, C, H, W]."
    )


def _to_uint8(where: str, x: np.ndarray) -> np.ndarray:
    if np.issubdtype(x.dtype, np.floating):
        # Written so that NaN, for which every comparison is false, counts as bad.
        bad = ~((x >= 0) & (x <= 1)).all(axis=(1, 2, 3))
        if bad.any():
            raise SpikeproofError(
                f"image {int(bad.argmax())} of {where} has a pixel that is NaN or outside [0, 1]: "
                "correct it, scale all images to [0, 1], or save them as uint8."
            )
        x = np.rint(x.astype(np.float32) * 255).astype(np.uint8)
    elif x.dtype != np.uint8:
        raise SpikeproofError(f"{where} is {x.dtype}, but images must be uint8, or floats in [0, 1]: convert them.")
    return np.ascontiguousarray(x)
