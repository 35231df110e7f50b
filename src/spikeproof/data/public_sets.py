"""What is known about the public data sets that are read from parquet files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A data set of the Hugging Face hub.

    Args:
        name: what users call it, and the folder its files lie in.
        repo: the hub's dataset repository.
        image_column: column of encoded images, each a struct of ``bytes`` and ``path``.
        label_column: column of whole numbers.
        num_classes: K.
        image_size: height and width in pixels.
        test_split: the hub's name of the split that results are reported on.
        mean: per channel, for images in [0, 1], as the robust-SNN literature has it.
        std: likewise.
        train_images, test_images: how many the original has.
        lossless: whether the original images were never compressed with loss.
    """

    name: str
    repo: str
    image_column: str
    label_column: str
    num_classes: int
    image_size: int
    test_split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    test_images: int
    lossless: bool


PUBLIC_SETS = {
    public_set.name: public_set
    for public_set in (
        PublicSet(
            name="cifar10",
            repo="uoft-cs/cifar10",
            image_column="img",
            label_column="label",
            num_classes=10,
            image_size=32,
            test_split="test",
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
            train_images=50_000,
            test_images=10_000,
            lossless=True,
        ),
        PublicSet(
            name="cifar100",
            repo="uoft-cs/cifar100",
            image_column="img",
            label_column="fine_label",
            num_classes=100,
            image_size=32,
            test_split="test",
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
            train_images=50_000,
            test_images=10_000,
            lossless=True,
        ),
        PublicSet(
            name="tiny_imagenet",
            repo="zh-plus/tiny-imagenet",
            image_column="image",
            label_column="label",
            num_classes=200,
            image_size=64,
            # Tiny ImageNet's own test labels were never published; the field reports on its validation images.
            test_split="valid",
            mean=(0.480, 0.448, 0.398),
            std=(0.272, 0.266, 0.274),
            train_images=100_000,
            test_images=10_000,
            lossless=False,
        ),
    )
}
