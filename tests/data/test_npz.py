import numpy as np
import pytest
import torch

from spikeproof.data import load_data

N_TRAIN, N_TEST = 12, 6


def arrays(**changes):
    draw = np.random.default_rng(0)
    return {
        "x_train": draw.integers(0, 256, (N_TRAIN, 8, 10, 3), dtype=np.uint8),
        "y_train": np.arange(N_TRAIN) % 3,
        "x_test": draw.integers(0, 256, (N_TEST, 8, 10, 3), dtype=np.uint8),
        "y_test": np.arange(N_TEST) % 3,
        **changes,
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


def load(path, **changes):
    np.savez(path, **arrays(**changes))
    return load_data(str(path), validation=4)


def test_reads_uint8_with_channels_last(path):
    data = load(path)
    assert data.name == "mine.npz"
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 6)
    assert (data.channels, data.image_size, data.num_classes) == (3, (8, 10), 3)
    assert torch.equal(data.test.images, torch.from_numpy(arrays()["x_test"]).permute(0, 3, 1, 2))
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.test.class_names == ("0", "1", "2")
    scaled = arrays()["x_train"] / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(data.std, scaled.std((0, 1, 2)), atol=5.1e-5)


def test_channels_first_gives_the_same(path):
    last = load(path)
    x = {key: arrays()[key].transpose(0, 3, 1, 2) for key in ("x_train", "x_test")}
    first = load(path, **x)
    assert torch.equal(first.test.images, last.test.images)
    assert torch.equal(first.train.images, last.train.images)


def test_without_a_channel_axis_there_is_one_channel(path):
    x = {key: arrays()[key][..., 0] for key in ("x_train", "x_test")}
    data = load(path, **x)
    assert data.channels == 1
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(x["x_test"]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_the_levels_they_came_from(path, dtype):
    x = {key: (arrays()[key] / 255).astype(dtype) for key in ("x_train", "x_test")}
    assert torch.equal(load(path, **x).test.images, torch.from_numpy(arrays()["x_test"]).permute(0, 3, 1, 2))


def test_a_constant_channel_does_not_lead_to_division_by_zero(path):
    x = arrays()["x_train"]
    x[..., 1] = 51
    data = load(path, x_train=x)
    assert data.mean[1] == 0.2
    assert data.std[1] == 1.0


@pytest.mark.parametrize("bad", [np.nan, 1.001, -0.001, np.inf])
def test_names_the_first_image_that_is_not_in_range(path, bad, refuses):
    x = arrays()["x_train"] / 255
    x[5, 2, 3, 1] = bad
    x[9] = bad
    with refuses("image 5 of x_train", path, "[0, 1]"):
        load(path, x_train=x)


def test_refuses_other_dtypes(path, refuses):
    with refuses("x_train", path, "int64", "uint8"):
        load(path, x_train=arrays()["x_train"].astype(np.int64))
    with refuses("y_test", path, "float64", "whole numbers"):
        load(path, y_test=arrays()["y_test"].astype(float))


@pytest.mark.parametrize("shape", [(12,), (12, 8), (12, 3, 10, 3), (12, 8, 10, 5), (12, 1, 8, 10, 3), ()])
def test_refuses_shapes_whose_channels_cannot_be_told(path, shape, refuses):
    with refuses("x_train", path, list(shape)):
        load(path, x_train=np.zeros(shape, dtype=np.uint8))


def test_refuses_labels_that_do_not_match_the_images(path, refuses):
    with refuses("y_train", path, "[11]", "[12, 8, 10, 3]"):
        load(path, y_train=arrays()["y_train"][:-1])
    with refuses("y_train", "[12, 1]"):
        load(path, y_train=arrays()["y_train"][:, None])


@pytest.mark.parametrize("labels", [[0, 2] * 6, [1, 2] * 6, [-1, 0] * 6, [0, 10**12] * 6])
def test_refuses_training_labels_with_a_gap(path, labels, refuses):
    with refuses("y_train", path, str(max(labels)), "renumber"):
        load(path, y_train=np.array(labels))


def test_refuses_a_test_label_that_training_lacks(path, refuses):
    with refuses(path, "test", "row 1", "label 3"):
        load(path, y_test=np.array([0, 3, 1, 2, 0, 1]))


def test_refuses_no_images(path, refuses):
    with refuses(path, "no images"):
        load(path, x_test=np.zeros((0, 8, 10, 3), np.uint8), y_test=np.zeros(0, np.int64))


def test_names_missing_arrays(path, refuses):
    np.savez(path, x_train=np.zeros(3), images=np.zeros(3))
    with refuses(path, "x_train, images", "y_train, x_test, y_test is missing"):
        load_data(str(path))


def test_names_a_damaged_archive(path, refuses):
    np.savez_compressed(path, **arrays())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with refuses(path, "cannot be read"):
        load_data(str(path))
    damaged = bytearray(content)
    damaged[200:400] = b"\xff" * 200
    path.write_bytes(damaged)
    with refuses(path, "cannot be read"):
        load_data(str(path))
    path.write_bytes(b"")
    with refuses(path, "cannot be read"):
        load_data(str(path))


def test_refuses_pickled_objects_and_lone_arrays(path, refuses):
    with refuses(path, "plain arrays"):
        load(path, x_train=np.array([{"a": 1}] * 12, dtype=object))
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with refuses(path, "cannot be read"):
        load_data(str(path))


def test_names_the_arrays_that_are_left_out(path, caplog):
    data = load(path, x_val=np.zeros(3), weights=np.zeros(2))
    assert data.note == "arrays that are left out: x_val, weights"
    assert data.note in caplog.text and str(path) in caplog.text
