"""``load_data``: from a name or a path to the three splits."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from spikeproof.checked import MOST, check_seed, whole
from spikeproof.data.digits import open_digits
from spikeproof.data.digits_events import open_digits_events
from spikeproof.data.folder import open_folder
from spikeproof.data.image_set import Data
from spikeproof.data.locate import locate
from spikeproof.data.npz import open_npz
from spikeproof.data.parquet import open_parquet
from spikeproof.data.part import balanced_order
from spikeproof.data.pool import ImagePool
from spikeproof.data.public_sets import PUBLIC_SETS, PublicSet
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds

# Not load_data's seed: all runs with the same test_limit must be measured on the same images.
_TEST_SEED = 0

_NAMES = ("digits", "digits-events", *PUBLIC_SETS)


@check_kinds
def load_data(
    name: str,
    *,
    data_dir: str | Path | None = None,
    validation: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    classes: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Data:
    """Load a data set, and take a validation split from its training images.

    The training images are shuffled by ``seed``, so that the first images, however many, have each class in its share.
    The first ``validation`` of them are the validation split, whatever the limits are. The next ``train_limit``
    (without a limit all others) are the training split.

    Args:
        name: "digits" (embedded), "digits-events" (synthetic frames, made of them), "cifar10", "cifar100",
            "tiny_imagenet" (parquet files), or the path of an image folder ``path/{train,test}/<class>/<image>`` or of
            an ``.npz`` with ``x_train, y_train, x_test, y_test``.
        data_dir: folder with ``<name>/train.parquet`` and ``<name>/test.parquet`` (``valid.parquet`` for
            tiny_imagenet). None takes the folder that SPIKEPROOF_DATA_DIR names, else the Hugging Face hub. Other kinds
            of data do not need it.
        validation: images in the validation split, 1 or more; by default a tenth of the training images, at most 1000.
        train_limit: images in the training split, 1 or more; None for all.
        test_limit: images in the test split, 1 or more, drawn in the same way, but alike for every ``seed``; None for
            all.
        classes: keep only these, relabelled 0 .. k-1 in this order; done before anything is counted.
        seed: of the shuffle of the training images.

    Returns:
        uint8 images ``[N, C, H, W]``, or frames ``[N, T, C, H, W]`` of event data, on the CPU. ``mean`` and ``std`` are
        the literature's for the parquet sets, else those of all training pixels of the kept classes, validation
        included. ``note`` says how the files differ from the published set, and what was left out.

    Raises:
        SpikeproofError: for an unknown name, a missing or damaged file, or counts and classes that it cannot give.

    Example:
        >>> data = load_data("digits", validation=50, train_limit=200, classes=(3, 8))
        >>> len(data.train), len(data.validation), data.test.class_names
        (200, 50, ('3', '8'))
    """
    for option, count in (("validation", validation), ("train_limit", train_limit), ("test_limit", test_limit)):
        if count is not None:
            whole(count, "A split", option, 1, MOST)
    check_seed(seed, "load_data")
    train_pool, test_pool = _open(name, data_dir)
    if classes is not None:
        train_pool, test_pool = train_pool.only(classes), test_pool.only(classes)
    return split_pools(
        train_pool,
        test_pool,
        title=name if name in _NAMES else user_path(name).resolve().name,
        public=PUBLIC_SETS.get(name),
        validation=validation,
        train_limit=train_limit,
        test_limit=test_limit,
        seed=seed,
    )


def split_pools(
    train_pool: ImagePool,
    test_pool: ImagePool,
    *,
    title: str,
    public: PublicSet | None = None,
    validation: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    seed: int = 0,
) -> Data:
    """The three splits of what a training and a test pool offer.

    Args:
        title: what reports call the data.
        public: the published set that the pools are of; it gives mean and std.
        validation, train_limit, test_limit, seed: as in :func:`load_data`.

    Raises:
        SpikeproofError: counts that the pools cannot give.
    """
    if validation is None:
        validation = max(1, min(1000, len(train_pool) // 10))
    wanted = validation + (train_limit or 1)
    if wanted > len(train_pool):
        raise SpikeproofError(
            f"{train_pool.source} has {len(train_pool)} images to train on, but validation ({validation}) and "
            f"train_limit ({train_limit or 'at least 1'}) need {wanted}: lower one of them."
        )
    if test_limit is not None and test_limit > len(test_pool):
        raise SpikeproofError(
            f"{test_pool.source} has {len(test_pool)} images to test on, but test_limit is {test_limit}: lower it."
        )

    shuffled = balanced_order(train_pool.labels, seed)
    train_rows = shuffled[validation:] if train_limit is None else shuffled[validation : validation + train_limit]
    test_rows = torch.arange(len(test_pool))
    if test_limit is not None:
        test_rows = balanced_order(test_pool.labels, _TEST_SEED)[:test_limit]
    if public is not None:
        train, carved = train_pool.read(train_rows), train_pool.read(shuffled[:validation])
        mean, std = public.mean, public.std
    else:
        # The statistics need every pixel anyway, so nothing is gained by decoding only the rows asked for.
        everything = train_pool.read(torch.arange(len(train_pool)))
        train, carved = everything.take(train_rows), everything.take(shuffled[:validation])
        mean, std = _channel_statistics(everything.images)
    notes = dict.fromkeys((*train_pool.notes, *test_pool.notes))
    return Data(
        name=title,
        train=train,
        validation=carved,
        test=test_pool.read(test_rows),
        mean=mean,
        std=std,
        note="; ".join(notes),
    )


def _open(name: str, data_dir: str | Path | None) -> tuple[ImagePool, ImagePool]:
    if name == "digits":
        return open_digits()
    if name == "digits-events":
        return open_digits_events()
    if name in PUBLIC_SETS:
        train_file, test_file = locate(PUBLIC_SETS[name], data_dir)
        known = PUBLIC_SETS[name]
        return open_parquet(train_file, known, "train"), open_parquet(test_file, known, "test")
    path = user_path(name)
    if path.is_dir():
        return open_folder(path)
    if path.is_file() and path.suffix == ".npz":
        return open_npz(path)
    raise SpikeproofError(
        f"there is no data set {name}: give one of {', '.join(_NAMES)}, "
        "or the path of an image folder or of an .npz file that exists."
    )


def _channel_statistics(images: UInt8[Tensor, " n *chw"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the scale [0, 1], rounded to 4 decimals."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(-3):
        # A histogram, since a float copy of all pixels would take 8 times their memory.
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * levels).sum()
        std = (share * (levels - mean).square()).sum().sqrt()
        means.append(round(mean.item(), 4))
        # A channel that never changes carries nothing to scale, and dividing by its std would give NaN.
        stds.append(round(std.item(), 4) or 1.0)
    return tuple(means), tuple(stds)
