"""A split before rows are chosen from it: all labels at once, images only for the rows that are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from spikeproof.data.image_set import ImageSet, first_label_outside
from spikeproof.errors import SpikeproofError


@dataclass(frozen=True, eq=False)
class ImagePool:
    """Every row that a file, folder or array offers for one split.

    Labels are cheap and decide which rows a run needs. Decoding images is not cheap, so it waits for ``read``.

    Args:
        source: the file or folder, as error messages name it.
        labels: int64 ``[N]``, each in ``0 .. K-1``.
        class_names: the K names, label 0 first.
        decode: takes rows (int64 ``[M]``, M >= 1) and returns their images, uint8 ``[M, C, H, W]``.
        notes: how this split differs from the published one, and what was left out.

    Raises:
        SpikeproofError: when there is no row, or a label is out of range.

    Example:
        >>> import torch
        >>> pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
        >>> pool = ImagePool("mine", torch.tensor([0, 1, 1]), ("a", "b"), lambda rows: pixels[rows])
        >>> pool.read(torch.tensor([2])).labels.tolist()
        [1]
    """

    source: str
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    decode: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise SpikeproofError(f"{self.source} holds no images, but at least one is needed: check what was saved.")
        bad = first_label_outside(self.labels, len(self.class_names))
        if bad is not None:
            raise SpikeproofError(
                f"{self.source} gives row {bad} the label {int(self.labels[bad])}, but its {len(self.class_names)} "
                f"classes are numbered 0 to {len(self.class_names) - 1}: correct that label."
            )

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.labels)

    def read(self, rows: Int64[Tensor, " m"]) -> ImageSet:
        """Decode some rows and nothing else.

        Args:
            rows: int64 ``[M]``, M >= 1.

        Raises:
            SpikeproofError: when one of these images is damaged or differs in size.
        """
        return ImageSet(self.decode(rows), self.labels[rows], self.class_names)

    def only(self, classes: tuple[int, ...]) -> ImagePool:
        """The rows of some classes, relabelled.

        Args:
            classes: the labels to keep; the first becomes 0, the second 1, and so on.

        Raises:
            SpikeproofError: when ``classes`` is empty, repeats or names an unknown class, or no row is left.

        Example:
            >>> import torch
            >>> pool = ImagePool("mine", torch.tensor([0, 1, 2]), ("a", "b", "c"), lambda rows: rows)
            >>> pool.only((2, 0)).labels.tolist()
            [1, 0]
        """
        known = len(self.class_names)
        if not classes or len(set(classes)) != len(classes) or not set(classes) <= set(range(known)):
            raise SpikeproofError(
                f"classes {classes} cannot be kept: give one or more different numbers from 0 to {known - 1}, "
                f"the classes of {self.source}."
            )
        new_label = torch.full((known,), -1)
        new_label[list(classes)] = torch.arange(len(classes))
        labels = new_label[self.labels]
        rows = (labels >= 0).nonzero().flatten()
        if not len(rows):
            raise SpikeproofError(f"{self.source} has no image of the classes {classes}: keep other classes.")
        names = tuple(self.class_names[label] for label in classes)
        return ImagePool(self.source, labels[rows], names, lambda picked: self.decode(rows[picked]), self.notes)


def pool_of_pixels(
    source: str,
    images: UInt8[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    class_names: tuple[str, ...],
    notes: tuple[str, ...] = (),
) -> ImagePool:
    """A pool whose images are in memory already.

    Args:
        source, labels, class_names, notes: as in :class:`ImagePool`.
        images: uint8 ``[N, C, H, W]``.
    """
    return ImagePool(source, labels, class_names, lambda rows: images[rows], notes)
