"""What is said of files that are not the published data set."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spikeproof.data import load, load_data
from spikeproof.data.public_sets import PUBLIC_SETS

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("SPIKEPROOF_DATA_DIR") or BESIDE_THE_PROJECT)


def to_jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=95)
    return file.getvalue()


@pytest.fixture
def small_originals(monkeypatch):
    """Public sets whose originals have 40 training and 10 test images."""
    for name, public_set in PUBLIC_SETS.items():
        small = dataclasses.replace(public_set, train_images=40, test_images=10)
        monkeypatch.setitem(load.PUBLIC_SETS, name, small)


@pytest.fixture
def write(tmp_path, colours, encode, write_parquet):
    """Write both files of a set, those of the named splits in JPEG; gives the folder."""

    def make(name, *, train=40, test=10, jpeg=()):
        public_set = PUBLIC_SETS[name]
        for split, file, count in (("train", "train", train), ("test", public_set.test_split, test)):
            to_bytes = to_jpeg if split in jpeg else encode
            contents = [to_bytes(image) for image in colours(count)]
            labels = [row % public_set.num_classes for row in range(count)]
            path = tmp_path / name / f"{file}.parquet"
            write_parquet(path, contents, labels, columns=(public_set.image_column, public_set.label_column))
        return tmp_path

    return make


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_the_original_needs_no_note(small_originals, write, name):
    jpeg = () if PUBLIC_SETS[name].lossless else ("train", "test")
    assert load_data(name, data_dir=write(name, jpeg=jpeg), validation=8).note == ""


@pytest.mark.parametrize("jpeg", [("train", "test"), ("train",), ("test",)], ids="-".join)
def test_jpeg_is_told_once_where_the_original_lost_nothing(small_originals, write, jpeg):
    for name in ("cifar10", "cifar100"):
        assert load_data(name, data_dir=write(name, jpeg=jpeg), validation=8).note == "JPEG-recompressed"


def test_fewer_images_than_the_original(small_originals, write):
    def note(**counts):
        return load_data("tiny_imagenet", data_dir=write("tiny_imagenet", **counts), validation=8).note

    assert note(train=39) == "a subset of 39 training images"
    assert note(test=9) == "a subset of 9 test images"
    assert note(train=30, test=4) == "a subset of 30 training images; a subset of 4 test images"


def test_notes_are_joined_and_survive_classes_limits_and_devices(small_originals, write):
    folder = write("cifar10", train=30, jpeg=("train", "test"))
    options = {"validation": 2, "train_limit": 3, "test_limit": 2, "classes": (3, 5)}
    data = load_data("cifar10", data_dir=folder, **options)
    assert data.note == "JPEG-recompressed; a subset of 30 training images"
    assert data.to("cpu").note == data.note


def test_limits_of_the_caller_are_no_note(small_originals, write):
    data = load_data("cifar10", data_dir=write("cifar10"), validation=8, train_limit=4, test_limit=2)
    assert data.note == ""


def test_a_missing_first_image_is_no_reason_to_fail_unless_it_is_asked_for(small_originals, write, write_parquet):
    folder = write("cifar10")
    contents = [None] + [to_jpeg(np.zeros((8, 8, 3), np.uint8))] * 9
    write_parquet(folder / "cifar10" / "test.parquet", contents, list(range(10)))
    data = load_data("cifar10", data_dir=folder, validation=8, classes=(1, 2, 3))
    assert data.note == "JPEG-recompressed"


def test_data_of_ones_own_have_no_note():
    assert load_data("digits", validation=8).note == ""


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_the_real_files(name):
    """Whatever files lie here, the note says what is true of them."""
    public_set = PUBLIC_SETS[name]
    train, test = (FOLDER / name / f"{split}.parquet" for split in ("train", public_set.test_split))
    if not (train.is_file() and test.is_file()):
        pytest.skip(f"no {name} in {FOLDER}")
    note = load_data(name, data_dir=FOLDER, validation=4, train_limit=4, test_limit=4).note
    first = pq.read_table(train, columns=[public_set.image_column])[0][0].as_py()["bytes"]
    assert ("JPEG-recompressed" in note) == (public_set.lossless and first[:2] == b"\xff\xd8")
    for path, count, called in ((train, 50_000, "training"), (test, 10_000, "test")):
        held = pq.ParquetFile(path).metadata.num_rows
        original = 100_000 if (name, called) == ("tiny_imagenet", "training") else count
        assert (f"a subset of {held} {called} images" in note) == (held < original)
