"""Parquet files in the layout of the Hugging Face hub: encoded images beside labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from jaxtyping import UInt8
from torch import Tensor

from spikeproof.data.decode import decode_images
from spikeproof.data.pool import ImagePool
from spikeproof.data.public_sets import PublicSet
from spikeproof.errors import SpikeproofError

_JPEG = b"\xff\xd8"
_LOOKED_AT = 8  # a few suffice: the images of a file are all encoded alike


def open_parquet(path: Path, public_set: PublicSet, split: Literal["train", "test"]) -> ImagePool:
    """Read the labels and the still encoded images of one file.

    The pool's notes say how the file differs from the original split: fewer images, or JPEG where the original has no
    loss. Class names come from the file's ``huggingface`` metadata; without it they are the labels' numbers.

    Args:
        path: of the file.
        public_set: columns, classes and sizes of the original.
        split: which split of it the file is.

    Returns:
        A pool whose images are uint8 ``[N, 3, H, W]``, decoded when read.

    Raises:
        SpikeproofError: naming the file, when it is damaged, has other columns, or other classes than ``public_set``.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            # pyarrow leaves out columns that the file lacks without an error; _check_columns raises it.
            table = file.read(columns=[public_set.image_column, public_set.label_column])
    except Exception as error:  # of a damaged file pyarrow may raise anything
        raise SpikeproofError(
            f"{path} cannot be read as a parquet file, it is damaged or incomplete: download it again."
        ) from error
    _check_columns(path, schema, public_set)

    label_column = table[public_set.label_column]
    if label_column.null_count:
        raise SpikeproofError(
            f"{path} has {label_column.null_count} rows without a label, but every image needs one: drop those rows."
        )
    encoded = pc.struct_field(table[public_set.image_column], "bytes")

    def decode(rows: Tensor) -> UInt8[Tensor, "n c h w"]:
        # The public sets hold a few grey images among the coloured ones, so all become RGB.
        named = ((f"row {row} of {path}", encoded[row].as_py()) for row in rows.tolist())
        return decode_images(named, count=len(rows), mode="RGB")

    labels = torch.tensor(label_column.to_numpy(), dtype=torch.int64)
    first = encoded.slice(0, _LOOKED_AT).to_pylist()
    notes = _notes(public_set, split, len(labels), [content for content in first if content is not None])
    return ImagePool(str(path), labels, _class_names(path, schema, public_set), decode, notes)


def _notes(public_set: PublicSet, split: Literal["train", "test"], count: int, first: list[bytes]) -> tuple[str, ...]:
    original, called = {
        "train": (public_set.train_images, "training"),
        "test": (public_set.test_images, "test"),
    }[split]
    notes = []
    if public_set.lossless and any(content.startswith(_JPEG) for content in first):
        notes.append("JPEG-recompressed")
    if count < original:
        notes.append(f"a subset of {count} {called} images")
    return tuple(notes)


def _check_columns(path: Path, schema: pa.Schema, public_set: PublicSet) -> None:
    image, label = public_set.image_column, public_set.label_column
    if image not in schema.names or label not in schema.names:
        raise SpikeproofError(
            f"{path} has the columns {', '.join(schema.names)}, but {public_set.name} needs {image} and {label}: "
            f"use the files of the hub's {public_set.repo}, or rename the columns."
        )
    image_type, label_type = schema.field(image).type, schema.field(label).type
    is_encoded = pa.types.is_struct(image_type) and image_type.get_field_index("bytes") >= 0
    if not is_encoded or not pa.types.is_integer(label_type):
        raise SpikeproofError(
            f"{path} stores {image} as {image_type} and {label} as {label_type}, but {public_set.name} needs a struct "
            f"of bytes and path, and whole numbers: use the files of the hub's {public_set.repo}."
        )


def _class_names(path: Path, schema: pa.Schema, public_set: PublicSet) -> tuple[str, ...]:
    """The names in the hub's own metadata; without them the labels' numbers."""
    try:
        names = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        for name in ("info", "features", public_set.label_column, "names"):
            names = names.get(name, {})
    except (AttributeError, ValueError, RecursionError):  # the metadata names no classes
        names = None
    if not names or not isinstance(names, list):
        return tuple(str(label) for label in range(public_set.num_classes))
    if len(names) != public_set.num_classes:
        raise SpikeproofError(
            f"{path} names {len(names)} classes, but {public_set.name} has {public_set.num_classes}: "
            f"use the files of the hub's {public_set.repo}."
        )
    return tuple(str(name) for name in names)
