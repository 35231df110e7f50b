import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spikeproof.data import load_data

TEN = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]


@pytest.fixture
def cifar10(tmp_path, colours, encode, write_parquet):
    """A folder with 40 training and 10 test images in CIFAR-10's layout."""
    for split, count in (("train", 40), ("test", 10)):
        contents = [encode(image) for image in colours(count, seed=count)]
        write_parquet(tmp_path / "cifar10" / f"{split}.parquet", contents, [i % 10 for i in range(count)], names=TEN)
    return tmp_path


def load(folder, name="cifar10", **options):
    return load_data(name, data_dir=folder, **{"validation": 8, **options})


def as_rows(images):
    """Images as a set of byte strings, to compare without order."""
    return {image.numpy().tobytes() for image in images}


def test_reads_every_pixel_and_label(cifar10, colours):
    data = load(cifar10)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 10)
    expected = torch.from_numpy(colours(10, seed=10)).permute(0, 3, 1, 2)
    assert torch.equal(data.test.images, expected)
    assert data.test.labels.tolist() == list(range(10))
    train = torch.from_numpy(colours(40, seed=40)).permute(0, 3, 1, 2)
    assert as_rows(data.train.images) | as_rows(data.validation.images) == as_rows(train)
    label_of = {image.numpy().tobytes(): row % 10 for row, image in enumerate(train)}
    for split in (data.train, data.validation):
        assert [label_of[image.numpy().tobytes()] for image in split.images] == split.labels.tolist()


def test_knows_names_and_statistics(cifar10):
    data = load(cifar10)
    assert data.name == "cifar10"
    assert data.test.class_names == tuple(TEN)
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert data.std == (0.2023, 0.1994, 0.2010)


def test_the_environment_names_the_folder_unless_the_caller_does(cifar10, tmp_path, monkeypatch, refuses):
    monkeypatch.setenv("SPIKEPROOF_DATA_DIR", str(cifar10))
    assert len(load_data("cifar10", validation=8).test) == 10
    elsewhere = tmp_path / "elsewhere"
    with refuses(elsewhere / "cifar10" / "train.parquet"):
        load(elsewhere)


def test_cifar100_takes_the_fine_labels_and_numbers_for_missing_names(tmp_path, colours, encode, write_parquet):
    for split in ("train", "test"):
        path = tmp_path / "cifar100" / f"{split}.parquet"
        contents = [encode(image) for image in colours(4)]
        write_parquet(path, contents, [99, 7, 0, 42], columns=("img", "fine_label"))
        table = pq.read_table(path)
        pq.write_table(table.append_column("coarse_label", pa.array([1, 1, 1, 1])), path)
    data = load(tmp_path, "cifar100", validation=1)
    assert data.test.labels.tolist() == [99, 7, 0, 42]
    assert data.test.class_names == tuple(str(label) for label in range(100))
    assert (data.mean, data.std) == ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def test_tiny_imagenet_tests_on_valid_and_makes_grey_images_rgb(tmp_path, colours, encode, write_parquet):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    contents = [encode(image) for image in colours(3)] + [encode(grey)]
    for split in ("train", "valid"):
        write_parquet(
            tmp_path / "tiny_imagenet" / f"{split}.parquet", contents, [0, 1, 2, 199], columns=("image", "label")
        )
    data = load(tmp_path, "tiny_imagenet", validation=1)
    assert torch.equal(data.test.images[3], torch.from_numpy(grey).expand(3, 8, 8))
    assert (data.mean, data.std) == ((0.480, 0.448, 0.398), (0.272, 0.266, 0.274))


def test_names_the_missing_test_file(cifar10, refuses):
    missing = cifar10 / "cifar10" / "test.parquet"
    missing.unlink()
    with refuses(missing, "--data-dir", "SPIKEPROOF_DATA_DIR"):
        load(cifar10)


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.98])
def test_names_a_truncated_file(cifar10, keep, refuses):
    path = cifar10 / "cifar10" / "train.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with refuses(path, "damaged"):
        load(cifar10)


def test_names_a_file_with_overwritten_pages(cifar10, refuses):
    path = cifar10 / "cifar10" / "test.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with refuses(path, "damaged"):
        load(cifar10)


def test_names_found_and_expected_columns(cifar10, colours, encode, write_parquet, refuses):
    path = cifar10 / "cifar10" / "train.parquet"
    write_parquet(path, [encode(image) for image in colours(4)], [0, 1, 2, 3], columns=("image", "fine_label"))
    with refuses(path, "image, fine_label", "img and label"):
        load(cifar10)


def test_refuses_columns_of_another_type(cifar10, refuses):
    path = cifar10 / "cifar10" / "train.parquet"
    pq.write_table(pa.table({"img": ["one", "two"], "label": [0, 1]}), path)
    with refuses(path, "string", "struct"):
        load(cifar10)


def test_refuses_text_and_missing_labels(cifar10, colours, encode, write_parquet, refuses):
    path = cifar10 / "cifar10" / "train.parquet"
    contents = [encode(image) for image in colours(2)]
    write_parquet(path, contents, ["cat", "dog"])
    with refuses(path, "label as string", "whole numbers"):
        load(cifar10)
    write_parquet(path, contents, [1, None])
    with refuses(path, "1 rows without a label"):
        load(cifar10)


@pytest.mark.parametrize("wrong", [10, -1])
def test_names_the_first_label_out_of_range(cifar10, wrong, colours, encode, write_parquet, refuses):
    path = write_parquet(
        cifar10 / "cifar10" / "test.parquet", [encode(image) for image in colours(4)], [0, 9, wrong, wrong]
    )
    with refuses(path, "row 2", str(wrong), "0 to 9"):
        load(cifar10)


def test_refuses_another_number_of_class_names(cifar10, colours, encode, write_parquet, refuses):
    path = cifar10 / "cifar10" / "test.parquet"
    write_parquet(path, [encode(image) for image in colours(2)], [0, 1], names=["cat", "dog"])
    with refuses(path, "2 classes", "10"):
        load(cifar10)


def test_refuses_a_file_without_rows(cifar10, write_parquet, refuses):
    path = cifar10 / "cifar10" / "test.parquet"
    write_parquet(path, [], pa.array([], pa.int64()))
    with refuses(path, "no images"):
        load(cifar10)


@pytest.mark.parametrize("damaged", [b"not an image", b"", None, "cut"])
def test_names_the_row_of_a_damaged_image(cifar10, damaged, colours, encode, write_parquet, refuses):
    contents = [encode(image) for image in colours(10)]
    contents[7] = contents[7][:100] if damaged == "cut" else damaged
    path = write_parquet(cifar10 / "cifar10" / "test.parquet", contents, list(range(10)))
    with refuses(f"row 7 of {path}", "damaged" if damaged else "no image bytes"):
        load(cifar10)


def test_names_the_row_of_another_size(cifar10, colours, encode, write_parquet, refuses):
    contents = [encode(image) for image in colours(10)]
    contents[7] = encode(colours(1, size=9)[0])
    path = write_parquet(cifar10 / "cifar10" / "test.parquet", contents, list(range(10)))
    with refuses(f"row 7 of {path}", "9x9", "8x8"):
        load(cifar10)


def test_rows_keep_their_number_in_the_file_when_classes_are_dropped(cifar10, colours, encode, write_parquet, refuses):
    contents = [encode(image) for image in colours(10)]
    contents[7] = b"not an image"
    path = write_parquet(cifar10 / "cifar10" / "test.parquet", contents, list(range(10)))
    with refuses(f"row 7 of {path}"):
        load(cifar10, validation=1, classes=(9, 7))


def test_decodes_only_the_rows_asked_for(cifar10, colours, encode, write_parquet, refuses):
    few = load(cifar10, train_limit=4, test_limit=3)
    # All other images of both files are now damaged; the same call must not notice.
    for split, count, needed in (
        ("train", 40, as_rows(few.train.images) | as_rows(few.validation.images)),
        ("test", 10, as_rows(few.test.images)),
    ):
        contents = [
            encode(image) if image.transpose(2, 0, 1).tobytes() in needed else b"not an image"
            for image in colours(count, seed=count)
        ]
        assert contents.count(b"not an image") == count - len(needed)
        write_parquet(cifar10 / "cifar10" / f"{split}.parquet", contents, [i % 10 for i in range(count)], names=TEN)
    again = load(cifar10, train_limit=4, test_limit=3)
    assert torch.equal(again.train.images, few.train.images)
    assert torch.equal(again.test.images, few.test.images)
    with refuses("cannot be decoded"):
        load(cifar10, train_limit=5, test_limit=3)
