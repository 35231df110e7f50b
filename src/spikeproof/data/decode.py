"""Encoded images (PNG, JPEG, ...) to one uint8 tensor."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from spikeproof.errors import SpikeproofError

GREY_MODES = frozenset({"1", "L", "LA"})  # Pillow's names for images without colour


def decode_images(
    encoded: Iterable[tuple[str, bytes | Path | None]], count: int, mode: Literal["L", "RGB"]
) -> UInt8[Tensor, "n c h w"]:
    """Decode ``count`` images of one size.

    One thread: with small images Python itself takes most of the time, and a thread pool measured no faster.

    Args:
        encoded: pairs of (what to call the image in an error message, its file's path or bytes).
        count: how many pairs there are, at least 1.
        mode: "RGB" for 3 channels (grey is repeated), "L" for 1.

    Returns:
        uint8 ``[count, C, H, W]``, 0 to 255.

    Raises:
        SpikeproofError: naming the first image that is damaged, differs in size, has more than 8 bits a channel, is
            transparent, holds several pictures, or would lose its colour to mode "L".

    Example:
        >>> import io
        >>> from PIL import Image, ImageOps
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (4, 2), "red").save(file, "png")
        >>> decode_images([("mine.png", file.getvalue())], count=1, mode="RGB")[0, :, 0, 0].tolist()
        [255, 0, 0]
    """
    channels = len(mode)
    pixels: np.ndarray | None = None
    for index, (where, content) in enumerate(encoded):
        image = _decode(where, content, mode)
        height, width = image.shape[:2]
        if pixels is None:
            pixels = np.empty((count, height, width, channels), dtype=np.uint8)
        if (height, width) != pixels.shape[1:3]:
            raise SpikeproofError(
                f"{where} is {height}x{width} pixels and the images before it {pixels.shape[1]}x{pixels.shape[2]}, "
                "but all images of a data set must have one size: resize them."
            )
        pixels[index] = image.reshape(height, width, channels)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def is_grey(where: str, content: bytes | Path) -> bool:
    """Whether an image file has no colour.

    Args:
        where: how an error message names the image.
        content: its file's path, or its bytes.

    Raises:
        SpikeproofError: it is damaged.
    """
    with _opened(where, content) as image:
        return _has_no_colour(image)


def _has_no_colour(image: Image.Image) -> bool:
    """Whether its mode, or its palette (a grey GIF), has no colour."""
    palette = image.getpalette() if image.mode == "P" else None
    return image.mode in GREY_MODES or (palette is not None and palette[0::3] == palette[1::3] == palette[2::3])


def is_image(file: Path) -> bool:
    """Whether Pillow recognises the format of a file. Its pixels may still be damaged."""
    if not file.is_file():
        return False
    try:
        with Image.open(file):
            return True
    except Exception:  # of whatever kind: see _opened
        return False


@contextlib.contextmanager
def _opened(where: str, content: bytes | Path | None) -> Iterator[Image.Image]:
    if isinstance(content, Path) and not content.is_file():  # reading a pipe would wait for ever
        raise SpikeproofError(f"{where} is no regular file: remove it or put an image in its place.")
    if not content:
        raise SpikeproofError(f"{where} holds no image bytes: put the encoded image there, or drop the row.")
    try:
        with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
            yield image
    except SpikeproofError:
        raise
    # Pillow's readers raise whatever their format's parser does: OSError, SyntaxError, struct.error, zlib.error, ...
    except Exception as error:
        raise SpikeproofError(
            f"{where} cannot be decoded as an image ({type(error).__name__}): replace the damaged image."
        ) from error


def _decode(where: str, content: bytes | Path | None, mode: Literal["L", "RGB"]) -> np.ndarray:
    """The pixels as every viewer shows them: upright. Images with hidden parts are refused."""
    with _opened(where, content) as image:
        if image.mode.startswith(("I", "F")) or _is_deep(image):
            raise SpikeproofError(
                f"{where} has more than 8 bits a channel (mode {image.mode}), which would be cut off: save it with 8 "
                "bits."
            )
        pictures = getattr(image, "n_frames", 1)
        if pictures > 1 and image.format != "MPO":  # a camera's JPEG with a preview behind the picture
            raise SpikeproofError(f"{where} holds {pictures} pictures: save the one that is meant.")
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            alpha = np.asarray(upright.convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                raise SpikeproofError(
                    f"{where} is transparent in places, where it has no colour of its own: flatten it onto the "
                    "background that is meant."
                )
        if mode == "L" and not _has_no_colour(upright):
            raise SpikeproofError(
                f"{where} is in colour (mode {upright.mode}) but the first image of every class is grey: "
                "save all images in colour or all in grey."
            )
        return np.asarray(upright.convert(mode))


def _is_deep(image: Image.Image) -> bool:
    """Whether the file has more than 8 bits a channel: in colour Pillow cuts them off, and says so only here."""
    for tile in getattr(image, "tile", ()):
        layout, *more = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if ";16" in str(layout) and not str(layout).startswith("BGR"):  # BGR;16 is 16 bits for all three together
            return True
        if tile.codec_name.startswith("ppm") and more and more[0] > 255:
            return True
    return False
