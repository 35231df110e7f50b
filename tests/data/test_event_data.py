"""Event data: frames from an npz, from data sets of Python and of tonic, and the synthetic ones."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import spikeproof as sp
from spikeproof.data import Augmentation, ImageSet, load_data, load_frames, load_tonic

N_TRAIN, N_TEST, STEPS = 8, 4, 3
SHAPE = (STEPS, 2, 6, 5)


def counts(n, most=1, seed=0, dtype=np.uint8):
    found = np.random.default_rng(seed).integers(0, most + 1, (n, *SHAPE)).astype(dtype)
    found[0, 0, 0, 0, 0] = most
    return found


def arrays(**changes):
    labels = {"y_train": np.arange(N_TRAIN) % 2, "y_test": np.arange(N_TEST) % 2}
    return {"x_train": counts(N_TRAIN), "x_test": counts(N_TEST, seed=1), **labels, **changes}


@pytest.fixture
def load(tmp_path):
    def saved(**changes):
        np.savez(tmp_path / "events.npz", **arrays(**changes))
        return load_data(str(tmp_path / "events.npz"), validation=2)

    return saved


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_binary_frames_become_0_and_255_whatever_their_type(load, dtype):
    data = load(x_train=counts(N_TRAIN).astype(dtype), x_test=counts(N_TEST, seed=1).astype(dtype))
    assert (data.frames, data.channels, data.image_size, data.note) == (STEPS, 2, (6, 5), "")
    assert torch.equal(data.test.images, torch.from_numpy(counts(N_TEST, seed=1)) * 255)
    by_channel = counts(N_TRAIN).mean((0, 1, 3, 4))
    np.testing.assert_allclose(data.mean, by_channel, atol=1e-4)
    np.testing.assert_allclose(data.std, np.sqrt(by_channel * (1 - by_channel)), atol=1e-4)
    images, _ = next(data.train.batches(2))
    assert images.shape == (2, *SHAPE) and set(images.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_counts_are_divided_by_the_largest_of_the_training_frames(load, dtype):
    data = load(x_train=counts(N_TRAIN, 5, dtype=dtype), x_test=counts(N_TEST, 7, 1, dtype=dtype))
    expected = np.rint(np.minimum(counts(N_TEST, 7, 1), 5) * 51.0)
    assert torch.equal(data.test.images, torch.from_numpy(expected).byte())
    above = int((counts(N_TEST, 7, 1) > 5).sum())
    assert above > 1
    assert data.note == (
        "counts of events are divided by 5, the largest in a training frame; "
        f"{above} larger counts of test frames stand as 5"
    )


def test_floats_in_the_unit_interval_stay_what_they_are(load):
    halves = counts(N_TRAIN, 2) / 2
    data = load(x_train=halves, x_test=halves[:N_TEST])
    assert torch.equal(data.test.images, torch.from_numpy(np.rint(halves[:N_TEST] * 255)).byte())


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"x_train": counts(N_TRAIN)[:, :, :0]}, ["x_train of", "[8, 3, 0, 6, 5]", "[N, T, C, H, W]"]),
        ({"x_train": counts(N_TRAIN).transpose(0, 1, 3, 4, 2)}, ["[8, 3, 6, 5, 2]", "move the axes"]),
        ({"x_test": counts(N_TEST)[:, 0]}, ["x_test of", "[4, 2, 6, 5]", "T steps"]),
        ({"x_train": counts(N_TRAIN) * np.nan}, ["sample 0 of x_train", "NaN"]),
        ({"x_train": -counts(N_TRAIN, dtype=np.int8)}, ["negative", "polarities as two channels"]),
        ({"x_train": counts(N_TRAIN, 5) * 0.3}, ["fractions", "divide by the largest"]),
        ({"x_train": counts(N_TRAIN) * 0}, ["no event at all"]),
        ({"x_train": counts(N_TRAIN).astype("S1")}, ["|S1", "counts of events"]),
    ],
)
def test_what_are_no_frames_is_refused(load, refuses, changes, pieces):
    with refuses(*pieces):
        load(**changes)


def test_frames_of_one_split_alone_are_refused(refuses):
    data = load_data("digits-events", validation=10, train_limit=20)
    flat = ImageSet(data.test.images[:, 0], data.test.labels, data.test.class_names)
    with refuses("one model needs one shape"):
        sp.Data("odd", data.train, data.validation, flat, data.mean, data.std)


def test_augmentation_moves_all_frames_of_a_sample_alike():
    frames = load_data("digits-events", validation=10).test.images[:5]
    one, many = frames[:, :1].expand_as(frames), Augmentation(crop_padding=2, flip=True, cutout=3)
    moved = many(one, torch.Generator().manual_seed(0))
    assert moved.shape == frames.shape and not torch.equal(moved, one)
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    assert torch.equal(moved[:, 0], many(frames[:, 0], torch.Generator().manual_seed(0)))


def test_synthetic_events_are_changes_of_brightness():
    """Brighter and darker pixels together say how each digit moved: on a triangle, so that all changes cancel."""
    data = load_data("digits-events", validation=50)
    digits = load_data("digits", validation=50)
    assert torch.equal(data.test.labels, digits.test.labels) and torch.equal(data.train.labels, digits.train.labels)
    assert data.note.startswith("synthetic")
    frames = data.test.images
    assert frames.shape == (500, 6, 2, 12, 12) and set(frames.unique().tolist()) == {0, 255}
    assert not (frames[:, :, 0] & frames[:, :, 1]).any()  # no pixel becomes brighter and darker at once
    digit = digits.test.images[0, 0].int()
    field = torch.zeros(2, 12, 12, dtype=torch.int32)
    field[0, 1:9, 0:8], field[1, 2:10, 1:9] = digit, digit
    change = field[1] - field[0]
    assert torch.equal(frames[0, 0, 0] == 255, change >= 64) and torch.equal(frames[0, 0, 1] == 255, change <= -64)


class Samples:
    """What tonic gives: frames [T,C,H,W] of counts as int16, and a label."""

    classes = ("left", "right")
    sensor_size = (5, 6, 2)

    def __init__(self, n=N_TRAIN, seed=0):
        self._frames = counts(n, 3, seed, np.int16)

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, index):
        return self._frames[index], index % 2


def test_a_data_set_of_python_gives_what_an_npz_gives(load):
    found = load_frames(Samples(), Samples(N_TEST, 1), validation=2, name="waves")
    saved = load(x_train=counts(N_TRAIN, 3), x_test=counts(N_TEST, 3, 1))
    assert found.name == "waves" and found.test.class_names == ("left", "right")
    for split in ("train", "validation", "test"):
        ours, theirs = getattr(found, split), getattr(saved, split)
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
    assert (found.mean, found.std, found.note) == (saved.mean, saved.std, saved.note)
    assert load_frames(list(Samples()), list(Samples()), validation=2).test.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("samples", "pieces"),
    [
        ([], ["training set of frames", "no samples"]),
        ([np.zeros(SHAPE)], ["Sample 0", "no pair"]),
        ([(np.ones(SHAPE), 0), (np.ones((4, *SHAPE[1:])), 1)], ["Sample 1", "[4, 2, 6, 5]", "n_time_bins"]),
        ([(np.ones(SHAPE), 0.5)], ["label of sample 0", "0.5"]),
        ([(np.ones(SHAPE)[0], 0)], ["[1, 2, 6, 5]", "[N, T, C, H, W]"]),
    ],
)
def test_what_is_no_data_set_of_frames_is_refused(refuses, samples, pieces):
    with refuses(*pieces):
        load_frames(samples, Samples())


def test_tonic_is_asked_for_in_a_sentence(refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic", None)
    with refuses("needs tonic", "pip install 'spikeproof[events]'", "numpy.savez"):
        load_tonic("NMNIST", frames=STEPS, folder="data")


@pytest.fixture
def tonic(monkeypatch):
    """A stand-in of tonic's shape, which is under the GPL and downloads its data."""

    class NMNIST(Samples):
        def __init__(self, save_to, train, transform):
            super().__init__(N_TRAIN if train else N_TEST, int(not train))
            assert transform == ("ToFrame", Samples.sensor_size, STEPS) and save_to

    class CIFAR10DVS(Samples):
        def __init__(self, save_to):
            super().__init__()

    stand_in = ModuleType("tonic")
    stand_in.datasets = SimpleNamespace(NMNIST=NMNIST, CIFAR10DVS=CIFAR10DVS)
    stand_in.transforms = SimpleNamespace(
        ToFrame=lambda *, sensor_size, n_time_bins: ("ToFrame", sensor_size, n_time_bins)
    )
    monkeypatch.setitem(sys.modules, "tonic", stand_in)


def test_a_data_set_of_tonic_is_loaded_by_its_name(tonic, tmp_path):
    data = load_tonic("NMNIST", frames=STEPS, folder=tmp_path, validation=2)
    assert (data.name, data.frames, len(data.train), len(data.test)) == ("NMNIST", STEPS, 6, 4)


@pytest.mark.thorough
def test_tonic_itself_reads_files_of_n_mnists_format(tmp_path, monkeypatch):
    """Events written as N-MNIST has them: five bytes each, of x, y, and a bit of polarity before 23 of microseconds."""
    tonic = pytest.importorskip("tonic")
    # It asks for ten thousand files, and for the archive that they came from.
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)
    draws = np.random.default_rng(0)
    written = {}
    for folder, count in (("Train", 6), ("Test", 4)):
        for index in range(count):
            x, y, on = draws.integers(0, 34, 200), draws.integers(0, 34, 200), draws.integers(0, 2, 200)
            time = np.sort(draws.integers(0, 300_000, 200))
            time[0], time[-1] = 0, 300_000  # the last one ends the last bin of tonic, and is in none
            bits = (on << 23) | time
            record = np.stack([x, y, bits >> 16, (bits >> 8) & 255, bits & 255], 1).astype(np.uint8)
            path = tmp_path / "NMNIST" / folder / str(index % 2) / f"{index:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record.tobytes())
            written[folder, index] = np.stack([x, y, on], 1)[:-1]
    data = load_tonic("NMNIST", frames=STEPS, folder=tmp_path, validation=2)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("NMNIST", 4, 2, 4)
    assert data.test.images.shape == (4, STEPS, 2, 34, 34) and data.test.class_names[1] == "1 - one"
    assert sorted(data.test.labels.tolist()) == [0, 0, 1, 1]
    # Wherever there was an event, of either polarity, and nowhere else, some frame has light.
    for index, of_file in enumerate([0, 2, 1, 3]):  # by class, then by name
        lit = torch.zeros(2, 34, 34, dtype=torch.bool)
        x, y, on = written["Test", of_file].T
        lit[on, y, x] = True
        assert any(torch.equal(frames.bool().any(0), lit) for frames in data.test.images), index


def test_what_tonic_has_not_or_has_not_split_is_refused(tonic, refuses, tmp_path):
    with refuses("no 'MNIST'"):
        load_tonic("MNIST", frames=STEPS, folder=tmp_path)
    with refuses("CIFAR10DVS", "load_frames"):
        load_tonic("CIFAR10DVS", frames=STEPS, folder=tmp_path)
