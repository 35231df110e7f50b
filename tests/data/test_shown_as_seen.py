"""Image files become what every viewer shows, or a sentence: transparency, orientation, depth, several pictures."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from spikeproof.data import ImageSet, load_data
from spikeproof.data.decode import decode_images


def saved(image, format="png", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def decoded(content, mode="RGB"):
    return decode_images([("this one", content)], count=1, mode=mode)[0]


def with_alpha(alpha, mode):
    pixels = np.full((8, 8, 4 if mode == "RGBA" else 2), 90, dtype=np.uint8)
    pixels[..., -1] = alpha
    return Image.fromarray(pixels, mode)


def palette(transparent):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[2:6, 2:6] = 1
    image = Image.fromarray(pixels, "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    return saved(image, transparency=0) if transparent else saved(image)


ALPHA = pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")


@ALPHA
@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_places_have_no_colour(refuses, format, mode):
    lossless = {"lossless": True} if format == "webp" else {}
    alpha = np.full((8, 8), 255)
    whole = decoded(saved(with_alpha(alpha, mode), format, **lossless))
    assert (whole == 90).all()
    alpha[3, 4] = 254
    with refuses("this one", "transparent", "background"):
        decoded(saved(with_alpha(alpha, mode), format, **lossless))


@ALPHA
def test_a_transparent_colour_of_a_palette(refuses):
    assert decoded(palette(False))[:, 3, 3].tolist() == [40, 50, 60]
    with refuses("transparent"):
        decoded(palette(True))
    grey = Image.new("L", (8, 8), 7)
    assert decoded(saved(grey), "L").unique().tolist() == [7]
    with refuses("transparent"):
        decoded(saved(grey, transparency=7), "L")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation):
    """A grey wedge with a bright corner, saved as each kind of camera position would save it."""
    upright = np.zeros((16, 8, 3), dtype=np.uint8)
    upright[:8, :4] = 255
    stored = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x),
        7: lambda x: np.rot90(x)[::-1, ::-1].transpose(1, 0, 2)[::-1].transpose(1, 0, 2)[:, ::-1][::-1],
        8: lambda x: np.rot90(x, -1),
    }[orientation](upright)
    if orientation == 7:  # mirrored along the other diagonal
        stored = upright[::-1, ::-1].transpose(1, 0, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(saved(Image.fromarray(np.ascontiguousarray(stored)), "png", exif=exif))
    assert torch.equal(found, torch.from_numpy(upright).permute(2, 0, 1))


def png_of_16_bits(colour, channels):
    """Pillow cannot write these."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 8, 16, colour, 0, 0, 0)
    rows = (b"\0" + np.full(8 * channels, 40000, ">u2").tobytes()) * 8
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    "content",
    [
        *(png_of_16_bits(colour, channels) for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4))),
        b"P6 8 8 65535\n" + np.full(192, 40000, ">u2").tobytes(),
        b"P5 8 8 65535\n" + np.full(64, 40000, ">u2").tobytes(),
        saved(Image.new("F", (8, 8), 0.5), "tiff"),
        saved(Image.new("I", (8, 8), 70000), "tiff"),
    ],
    ids=["grey", "RGB", "grey and alpha", "RGBA", "ppm", "pgm", "float", "32 bits"],
)
def test_more_than_8_bits_a_channel(refuses, content):
    with refuses("this one", "more than 8 bits"):
        decoded(content)


def test_fewer_bits_are_stretched_as_a_viewer_does():
    assert decoded(b"P5 8 8 15\n" + bytes([15] * 64), "L").unique().tolist() == [255]
    assert decoded(saved(Image.new("1", (8, 8), 1)), "L").unique().tolist() == [255]


@pytest.mark.parametrize(("format", "options"), [("tiff", {}), ("webp", {"lossless": True}), ("png", {})])
def test_several_pictures_in_a_file(refuses, format, options):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    with refuses("2 pictures"):
        decoded(saved(first, format, save_all=True, append_images=[second], **options))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_every_other_mode_becomes_three_channels(mode):
    assert decoded(saved(Image.new(mode, (8, 8), 30), "tiff")).shape == (3, 8, 8)


@pytest.mark.parametrize("content", [b"", None, b"\0" * 30])
def test_bytes_that_are_no_image(refuses, content):
    with refuses("this one"):
        decoded(content)


def test_a_pipe_under_an_images_name_does_not_wait(refuses, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("L", (8, 8), 9).save(tmp_path / split / "cat" / "1.png")
    os.mkfifo(tmp_path / "train" / "cat" / "0.png")
    with refuses("0.png", "regular file"):
        load_data(str(tmp_path), validation=1)


def test_bytes_of_zero_and_one_are_black(refuses, tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 2
    for top, fine in ((1, False), (255, True)):
        np.savez(tmp_path / "x.npz", x_train=top * images, y_train=labels, x_test=top * images, y_test=labels)
        if fine:
            assert load_data(str(tmp_path / "x.npz"), validation=2).train.images.max() == 255
        else:
            with refuses("above 1 of 255", "floats"):
                load_data(str(tmp_path / "x.npz"), validation=2)


def test_a_fingerprint_sees_every_change():
    images, labels = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2])
    names = ("ant", "bee", "cat")
    first = ImageSet(images, labels, names).fingerprint()
    assert ImageSet(images.clone(), labels.clone(), names).fingerprint() == first
    brighter, moved = images.clone(), labels.clone()
    brighter[5, 0, 3, 3] += 1
    moved[5] = 0
    others = [
        ImageSet(brighter, labels, names),
        ImageSet(images, moved, names),
        ImageSet(images, labels, ("bee", "cat", "zebra")),
        ImageSet(images.view(6, 4, 2, 2), labels, names),
        ImageSet(images[:5], labels[:5], names),
    ]
    assert len({first, *(other.fingerprint() for other in others)}) == 6
