"""Image folders of the user's own: ``path/{train,test}/<class>/<image file>``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from spikeproof.data.decode import decode_images, is_grey, is_image
from spikeproof.data.pool import ImagePool
from spikeproof.errors import SpikeproofError

_log = logging.getLogger(__name__)

# A file with one of these endings must be an image. Any other file is one if Pillow can open it.
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SPLITS = ("train", "test")
_MOST_NAMES = 5


def open_folder(path: Path) -> tuple[ImagePool, ImagePool]:
    """Find the images of ``path/train`` and ``path/test``; each folder inside is a class.

    Classes are numbered in the alphabetical order of the training folders. Images in folders inside a class's folder
    are of this class. A file is an image if Pillow can open it, whatever its name ends with. The pools' notes and a
    warning in the log count and name what is left out: other files, hidden ones, and what lies beside the classes or
    beside train and test. The images are grey (1 channel) when the first of every class is, else RGB.

    Args:
        path: the folder that has train and test.

    Returns:
        (train, test), whose images are uint8 ``[N, C, H, W]``, decoded when read.

    Raises:
        SpikeproofError: naming the path, when a split or a class is missing, empty or unknown. A file with an image's
            ending that is no image is refused, at the latest when it is read.
    """
    train_files, train_left = _files_by_class(path / "train")
    test_files, test_left = _files_by_class(path / "test")
    class_names = tuple(train_files)
    unknown = [name for name in test_files if name not in train_files]
    if unknown:
        raise SpikeproofError(
            f"{path / 'test'} has the class folder {unknown[0]}, which {path / 'train'} lacks: "
            "add its training images or remove it."
        )
    firsts = [files[0] for split in (train_files, test_files) for files in split.values()]
    mode: Literal["L", "RGB"] = "L" if all(is_grey(str(file), file) for file in firsts) else "RGB"
    beside = sorted(entry for entry in path.iterdir() if entry.name not in _SPLITS)
    notes = _notes(path, [*beside, *train_left, *test_left])
    for note in notes:
        _log.warning("%s: %s", path, note)
    return (
        _open_split(path / "train", train_files, class_names, mode, notes),
        _open_split(path / "test", test_files, class_names, mode, notes),
    )


def _files_by_class(split: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Image files of each class folder, both in alphabetical order; and what is left out."""
    if not split.is_dir():
        raise SpikeproofError(
            f"there is no folder {split}, but an image folder needs train/<class>/<image> and test/<class>/<image>: "
            "create it."
        )
    entries = sorted(split.iterdir())
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise SpikeproofError(f"{split} has no folders inside, but it needs one for each class: sort the images.")
    by_class, left_out = {}, [entry for entry in entries if entry not in folders]
    for folder in folders:
        files, others = _images_below(folder)
        if not files:
            raise SpikeproofError(
                f"{folder} holds no image file that Pillow can open, but each class needs one or more: fill the folder "
                "or remove it."
            )
        by_class[folder.name] = files
        left_out += others
    return by_class, left_out


def _images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder and in all below it, and the files and hidden folders that are left out."""
    images: list[Path] = []
    left_out: list[Path] = []
    seen: set[Path] = set()
    for directory, folders, names in os.walk(folder, followlinks=True):
        here = Path(directory)
        if here.resolve() in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(here.resolve())
        left_out += [here / name for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (here / name for name in names):
            hidden = file.name.startswith(".")
            is_one = not hidden and (file.suffix.lower() in _SUFFIXES or is_image(file))
            (images if is_one else left_out).append(file)
    return sorted(images), sorted(left_out)


def _notes(path: Path, left_out: Sequence[Path]) -> tuple[str, ...]:
    """A sentence on what is left out: how many, and the first names."""
    if not left_out:
        return ()
    names = [str(entry.relative_to(path)) + ("/" if entry.is_dir() else "") for entry in left_out]
    shown = ", ".join([*names[:_MOST_NAMES], *(["..."] if len(names) > _MOST_NAMES else [])])
    count = "1 file or folder is" if len(names) == 1 else f"{len(names)} files or folders are"
    return (f"{count} left out as no image of a class: {shown}",)


def _open_split(
    split: Path,
    by_class: dict[str, list[Path]],
    class_names: tuple[str, ...],
    mode: Literal["L", "RGB"],
    notes: tuple[str, ...],
) -> ImagePool:
    files = [file for class_files in by_class.values() for file in class_files]
    labels = torch.tensor([class_names.index(name) for name, class_files in by_class.items() for _ in class_files])

    def decode(rows: Tensor) -> UInt8[Tensor, "n c h w"]:
        named = ((str(files[row]), files[row]) for row in rows.tolist())
        return decode_images(named, count=len(rows), mode=mode)

    return ImagePool(str(split), labels, class_names, decode, notes)
