"""Encoded images (PNG, JPEG, ...) to one uint8 tensor."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from spikeproof.errors import SpikeproofError

GREY_MODES = frozenset({"1", "L", "LA"})  # Pillow's names for images without colour


def decode_images(
    encoded: Iterable[tuple[str, bytes | Path | None]], count: int, mode: Literal["L", "RGB"]
) -> UInt8[Tensor, "n c h w"]:
    """Decode ``count`` images of one size.

    One thread: on small images Python's share of the work is so large that a thread pool measured no faster.

    Args:
        encoded: pairs of (what to call the image in an error message, its file's path or bytes).
        count: how many pairs there are, at least 1.
        mode: "RGB" for 3 channels (grey is repeated), "L" for 1.

    Returns:
        uint8 ``[count, C, H, W]``, 0 to 255.

    Raises:
        SpikeproofError: naming the first image that is damaged, differs in size, has more than 8 bits a channel, or
            would lose its colour to mode "L".

    Example:
        >>> import io
        >>> from PIL import Image
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


def _decode(where: str, content: bytes | Path | None, mode: Literal["L", "RGB"]) -> np.ndarray:
    try:
        with Image.open(content if isinstance(content, Path) else io.BytesIO(content or b"")) as image:
            image.load()
    # Pillow's readers raise whatever their format's parser does: OSError, SyntaxError, struct.error, zlib.error, ...
    except Exception as error:
        raise SpikeproofError(f"{where} cannot be decoded as an image: replace the damaged image.") from error
    if image.mode.startswith(("I", "F")):
        raise SpikeproofError(
            f"{where} has more than 8 bits a channel (mode {image.mode}), which would be clipped: save it with 8 bits."
        )
    if mode == "L" and image.mode not in GREY_MODES:
        raise SpikeproofError(
            f"{where} is in colour (mode {image.mode}) but the first image of every class is grey: "
            "save all images in colour or all in grey."
        )
    return np.asarray(image.convert(mode))
