"""Image folders of the user's own: ``path/{train,test}/<class>/<image file>``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from spikeproof.data.decode import decode_images, is_grey
from spikeproof.data.pool import Pool
from spikeproof.errors import SpikeproofError

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def open_folder(path: Path) -> tuple[Pool, Pool]:
    """Find the images of ``path/train`` and ``path/test``; each folder inside is a class.

    Classes are numbered in the alphabetical order of the training folders. Files without an image suffix are passed
    over. The images are grey (1 channel) when the first of every class is, else RGB.

    Returns:
        (train, test), whose images are uint8 ``[N, C, H, W]``, decoded when read.

    Raises:
        SpikeproofError: naming the path, when a split or a class is missing, empty or unknown.
    """
    train_files, test_files = (_files_by_class(path / split) for split in ("train", "test"))
    class_names = tuple(train_files)
    unknown = [name for name in test_files if name not in train_files]
    if unknown:
        raise SpikeproofError(
            f"{path / 'test'} has the class folder {unknown[0]}, which {path / 'train'} lacks: "
            "add its training images or remove it."
        )
    firsts = [files[0] for split in (train_files, test_files) for files in split.values()]
    mode: Literal["L", "RGB"] = "L" if all(is_grey(str(file), file) for file in firsts) else "RGB"
    return (
        _open_split(path / "train", train_files, class_names, mode),
        _open_split(path / "test", test_files, class_names, mode),
    )


def _files_by_class(split: Path) -> dict[str, list[Path]]:
    """Image files of each class folder, both in alphabetical order."""
    if not split.is_dir():
        raise SpikeproofError(
            f"there is no folder {split}, but an image folder needs train/<class>/<image> and test/<class>/<image>: "
            "create it."
        )
    folders = sorted(folder for folder in split.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise SpikeproofError(f"{split} has no folders inside, but it needs one for each class: sort the images.")
    by_class = {}
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not files:
            raise SpikeproofError(
                f"{folder} holds no image file ({', '.join(sorted(_SUFFIXES))}), but each class needs one or more: "
                "fill the folder or remove it."
            )
        by_class[folder.name] = files
    return by_class


def _open_split(
    split: Path, by_class: dict[str, list[Path]], class_names: tuple[str, ...], mode: Literal["L", "RGB"]
) -> Pool:
    files = [file for class_files in by_class.values() for file in class_files]
    labels = torch.tensor([class_names.index(name) for name, class_files in by_class.items() for _ in class_files])

    def decode(rows: Tensor) -> UInt8[Tensor, "n c h w"]:
        named = ((str(files[row]), files[row]) for row in rows.tolist())
        return decode_images(named, count=len(rows), mode=mode)

    return Pool(str(split), labels, class_names, decode)
