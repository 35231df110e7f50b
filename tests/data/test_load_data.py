import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from spikeproof.data import load_data


def digits(**options):
    return load_data("digits", **{"validation": 200, **options})


def as_rows(image_set):
    return sorted(image.numpy().tobytes() for image in image_set.images)


def test_digits_are_all_there_once_with_their_labels():
    data = digits()
    assert (len(data.train), len(data.validation), len(data.test)) == (1097, 200, 500)
    assert (data.name, data.channels, data.image_size, data.num_classes) == ("digits", 1, (8, 8), 10)
    assert data.train.class_names == tuple("0123456789")
    splits = (data.train, data.validation, data.test)
    loaded = [
        (image.numpy().tobytes(), label)
        for split in splits
        for image, label in zip(split.images, split.labels.tolist(), strict=True)
    ]
    raw = load_digits()
    scaled = np.floor(raw.images * 255 / 16 + 0.5).astype(np.uint8)
    expected = [(image.tobytes(), label) for image, label in zip(scaled, raw.target.tolist(), strict=True)]
    assert sorted(loaded) == sorted(expected)


def test_digits_are_split_by_class():
    counts = torch.bincount(digits().test.labels)
    expected = torch.bincount(torch.from_numpy(load_digits().target)) * 500 / 1797
    assert ((counts - expected).abs() < 1).all()


def test_digits_statistics_are_those_of_the_training_pool():
    data = digits(train_limit=10)
    whole = digits()
    pool = torch.cat([whole.train.images, whole.validation.images]).double() / 255
    assert data.mean == (round(pool.mean().item(), 4),)
    assert data.std == (round(pool.std(correction=0).item(), 4),)


def test_validation_is_apart_from_training_and_the_same_whatever_the_limit():
    whole, few = digits(), digits(train_limit=50, test_limit=20)
    assert torch.equal(whole.validation.images, few.validation.images)
    assert torch.equal(whole.validation.labels, few.validation.labels)
    assert torch.equal(whole.train.images[:50], few.train.images)
    assert len(few.train) == 50
    # No two digits are the same image, so that equal pixels mean the same row.
    assert not set(as_rows(whole.train)) & set(as_rows(whole.validation))


def test_the_seed_shuffles_training_but_never_changes_the_test_images():
    one, two = digits(test_limit=40), digits(test_limit=40, seed=1)
    assert as_rows(one.validation) != as_rows(two.validation)
    assert as_rows(one.train) != as_rows(two.train)
    assert torch.equal(one.test.images, two.test.images)
    assert torch.equal(one.train.images, digits(test_limit=40).train.images)


def test_fewer_test_images_are_some_of_more_and_a_mix_of_classes():
    whole, forty, twenty = digits(), digits(test_limit=40), digits(test_limit=20)
    assert len(forty.test) == 40
    assert torch.equal(forty.test.images[:20], twenty.test.images)
    assert set(as_rows(forty.test)) <= set(as_rows(whole.test))
    assert not torch.equal(forty.test.images, whole.test.images[:40])


def test_classes_are_kept_and_renumbered_in_the_order_given():
    data = digits(validation=50, classes=(8, 3))
    whole = digits()
    assert data.train.class_names == ("8", "3")
    for new, old in enumerate((8, 3)):
        kept = data.test.images[data.test.labels == new]
        assert torch.equal(kept, whole.test.images[whole.test.labels == old])
    both = torch.cat([data.train.labels, data.validation.labels])
    old = torch.cat([whole.train.labels, whole.validation.labels])
    assert both.bincount().tolist() == [int((old == 8).sum()), int((old == 3).sum())]


def test_classes_are_chosen_before_the_limits():
    data = digits(validation=50, classes=(8, 3), train_limit=100, test_limit=60)
    assert (len(data.train), len(data.validation), len(data.test)) == (100, 50, 60)


@pytest.mark.parametrize("classes", [(), (3, 10), (-1,), (3, 3)])
def test_refuses_classes_that_are_not_there(classes, refuses):
    with refuses(classes, "0 to 9"):
        digits(classes=classes)


def test_refuses_classes_without_an_image(tmp_path, refuses):
    path = tmp_path / "mine.npz"
    x = np.zeros((6, 8, 8), np.uint8)
    np.savez(path, x_train=x, y_train=[0, 1, 2] * 2, x_test=x, y_test=[0, 1] * 3)
    with refuses(path, "test", "(2,)"):
        load_data(str(path), validation=1, classes=(2,))


@pytest.mark.parametrize("option", ["validation", "train_limit", "test_limit"])
@pytest.mark.parametrize("count", [0, -3])
def test_refuses_empty_splits(option, count, refuses):
    with refuses(f"{option} >= 1", f"got {count}"):
        digits(**{option: count})


def test_refuses_more_images_than_there_are(refuses):
    assert len(digits(validation=297, train_limit=1000).train) == 1000
    with refuses("1297", "298", "1000", "1298"):
        digits(validation=298, train_limit=1000)
    with refuses("1297", "validation (1297)"):
        digits(validation=1297)
    with refuses("500", "test_limit is 501"):
        digits(test_limit=501)


@pytest.mark.parametrize("name", ["cifar", "CIFAR10", "nowhere/images", "nowhere.npz"])
def test_an_unknown_name_lists_the_known_ones(name, tmp_path, monkeypatch, refuses):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar").write_text("a file, but no .npz")
    with refuses(name, "digits, digits-events, cifar10, cifar100, tiny_imagenet", "folder", ".npz"):
        load_data(name)
