"""The two containers that the rest of the library trains on, attacks and audits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from spikeproof.data.part import balanced_order
from spikeproof.errors import SpikeproofError


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images, their labels and what the labels mean; uint8 so that a whole data set fits on a device.

    Args:
        images: uint8 ``[N, C, H, W]``, 0 to 255; of an event camera frames ``[N, T, C, H, W]``, one for each step.
        labels: int64 ``[N]``, each in ``0 .. K-1``.
        class_names: the K names, label 0 first.

    Raises:
        SpikeproofError: for another dtype or rank, lengths that differ, or a label out of range.

    Example:
        >>> import torch
        >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
        >>> ImageSet(images, torch.tensor([0, 1, 0, 1, 1]), ("cat", "dog"))
        ImageSet(5 images of 1x8x8, 2 classes, cpu)
    """

    # Plain Tensors: where shape annotations are checked at run time, they would raise before the sentences below.
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim not in (4, 5):
            raise SpikeproofError(
                f"images are {_describe(self.images)}, but an ImageSet needs uint8 of shape [N, C, H, W], "
                "or [N, T, C, H, W] for frames: scale to 0..255, round and cast first."
            )
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1:
            raise SpikeproofError(
                f"labels are {_describe(self.labels)}, but an ImageSet needs int64 of shape [N]: "
                "give one whole number for each image."
            )
        if len(self.images) != len(self.labels):
            raise SpikeproofError(
                f"there are {len(self.images)} images and {len(self.labels)} labels, but each image needs exactly "
                "one label: drop the surplus."
            )
        bad = first_label_outside(self.labels, self.num_classes)
        if bad is not None:
            raise SpikeproofError(
                f"the label of image {bad} is {int(self.labels[bad])}, but {self.num_classes} class names allow only "
                f"0 to {self.num_classes - 1}: correct the label or name every class."
            )

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(str(size) for size in self.images.shape[1:])
        return f"ImageSet({len(self)} images of {shape}, {self.num_classes} classes, {self.images.device})"

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with images and labels on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.class_names)

    def take(self, indices: Int64[Tensor, " m"] | slice) -> ImageSet:
        """Some of the images, as a set.

        Args:
            indices: of the images, in any order: int64 ``[M]`` or a slice.

        Example:
            >>> import torch
            >>> numbered = ImageSet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3), ("a", "b", "c"))
            >>> numbered.take(torch.tensor([2, 0])).labels.tolist()
            [2, 0]
        """
        return ImageSet(self.images[indices], self.labels[indices], self.class_names)

    def brightest(self, called: str) -> int:
        """The largest value of all images, 0 to 255.

        Args:
            called: how the message names the images.

        Raises:
            SpikeproofError: it is 1, so black and white are stored as 0 and 1 instead of 0 and 255.
        """
        most = int(self.images.max()) if self.images.numel() else 0
        if most == 1:
            raise SpikeproofError(
                f"no pixel of {called} is above 1 of 255: they are black, and any radius is larger than their whole "
                "contrast; save 0 and 1 as 0 and 255, or as floats."
            )
        return most

    def fingerprint(self) -> str:
        """16 hex digits, which change with any image, label, class name or the order.

        Example:
            >>> import torch
            >>> blank = ImageSet(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
            >>> blank.fingerprint() == blank.take(torch.tensor([1, 0])).fingerprint()
            False
        """
        digest = hashlib.sha256(json.dumps([list(self.images.shape), list(self.class_names)]).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def part(self, count: int) -> Int64[Tensor, " m"]:
        """The rows of a part, for ``take``; every call gives the same, and each class has its share.

        Args:
            count: how many images, at most all.

        Example:
            >>> import torch
            >>> whole = ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]), ("a", "b"))
            >>> sorted(whole.take(whole.part(2)).labels.tolist())
            [0, 1]
        """
        return balanced_order(self.labels)[:count]

    def batches(self, batch_size: int) -> Iterator[tuple[Float32[Tensor, " b *chw"], Int64[Tensor, " b"]]]:
        """Yield (float32 images in [0, 1], labels) in order; the last batch may be smaller.

        Args:
            batch_size: images in a batch, 1 or more.

        Raises:
            SpikeproofError: when ``batch_size`` is below 1.

        Example:
            >>> import torch
            >>> blank = ImageSet(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5).long(), ("a",))
            >>> [tuple(images.shape) for images, _ in blank.batches(2)]
            [(2, 1, 2, 2), (2, 1, 2, 2), (1, 1, 2, 2)]
        """
        # Checked here, not in the generator below, so that the sentence comes at the call and not at the first batch.
        if batch_size < 1:
            raise SpikeproofError(f"batch_size is {batch_size}, but a batch needs at least one image: give 1 or more.")
        return self._batches(batch_size)

    def _batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), batch_size):
            stop = start + batch_size
            yield self.images[start:stop].float().div_(255), self.labels[start:stop]


@dataclass(frozen=True, eq=False)
class Data:
    """One data set in its three splits, with the channel statistics a model normalises by.

    Args:
        name: as reports call it.
        train: the images that weights are fitted on.
        validation: the images that settings and checkpoints are chosen on; rows of the original training set.
        test: the images that results are measured on; nothing is chosen on them.
        mean: one value per channel, for images in [0, 1].
        std: one value above 0 per channel, for images in [0, 1].
        note: how the files at hand differ from the published data set, such as "JPEG-recompressed"; empty for no known
            difference. Classes and limits that the caller asked for are no difference.

    Raises:
        SpikeproofError: when the splits differ in image shape or classes, or the statistics do not fit the channels.

    Example:
        >>> from spikeproof.data import load_data
        >>> data = load_data("digits", validation=200)
        >>> data.num_classes, data.channels, data.image_size
        (10, 1, (8, 8))
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for split, images in (("validation", self.validation), ("test", self.test)):
            if images.images.shape[1:] != self.train.images.shape[1:]:
                raise SpikeproofError(
                    f"the {split} images of {self.name} are {list(images.images.shape[1:])} and its training images "
                    f"{list(self.train.images.shape[1:])}, but one model needs one shape: resize or convert them."
                )
            if images.class_names != self.train.class_names:
                raise SpikeproofError(
                    f"the {split} set of {self.name} names other classes than its training set, but a label must "
                    "mean the same in both: give both the same class names in the same order."
                )
        self.train.brightest(f"the training images of {self.name}")
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise SpikeproofError(
                f"mean {self.mean} and std {self.std} do not fit {self.name}, whose images have {self.channels} "
                "channel(s): give one mean and one std above 0 for each channel."
            )

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return self.train.num_classes

    @property
    def channels(self) -> int:
        """C, the number of colour channels; of frames that of polarities."""
        return self.train.images.shape[-3]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.train.images.shape[-2], self.train.images.shape[-1]

    @property
    def frames(self) -> int | None:
        """T, the number of frames of a sample; None for images, which have no steps."""
        return self.train.images.shape[1] if self.train.images.ndim == 5 else None

    def fingerprints(self) -> dict[str, Any]:
        """What a run records of its data: the class names, and each split's fingerprint."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {"class_names": list(self.train.class_names)} | {
            name: split.fingerprint() for name, split in splits.items()
        }

    def to(self, device: torch.device | str) -> Data:
        """The same data with all three splits on ``device``."""
        return Data(
            name=self.name,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
            mean=self.mean,
            std=self.std,
            note=self.note,
        )


def first_label_outside(labels: Int64[Tensor, " n"], num_classes: int) -> int | None:
    """Index of the first label outside ``0 .. num_classes - 1``, or None when all are inside.

    Args:
        labels: int64 ``[N]``.
        num_classes: K.

    Example:
        >>> import torch
        >>> first_label_outside(torch.tensor([0, 1, 2]), 2)
        2
    """
    outside = ((labels < 0) | (labels >= num_classes)).nonzero()
    return int(outside[0]) if len(outside) else None


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"
