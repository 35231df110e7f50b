"""A part of a split: every class in its share from the first image on, and the same rows every time."""

import pytest
import torch

from spikeproof.data import ImageSet
from spikeproof.data.part import balanced_order


def sorted_by_class(*counts):
    return torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])


def test_it_is_an_order_of_all_rows():
    labels = sorted_by_class(7, 1, 30)
    assert balanced_order(labels).sort().values.tolist() == list(range(38))
    assert balanced_order(labels[:0]).tolist() == []


@pytest.mark.parametrize("count", range(1, 61))
def test_equal_classes_are_never_more_than_one_image_apart(count):
    labels = sorted_by_class(20, 20, 20)
    found = torch.bincount(labels[balanced_order(labels)[:count]], minlength=3)
    assert found.max() - found.min() <= 1


def test_unequal_classes_have_their_shares():
    labels = sorted_by_class(600, 300, 100)
    found = torch.bincount(labels[balanced_order(labels)[:100]], minlength=3)
    assert (found - torch.tensor([60, 30, 10])).abs().max() <= 1


def test_the_seed_alone_decides_and_within_a_class_it_draws():
    labels = sorted_by_class(50, 50)
    assert torch.equal(balanced_order(labels), balanced_order(labels, 0))
    assert not torch.equal(balanced_order(labels), balanced_order(labels, 1))
    first = balanced_order(labels)[:20]
    assert set(first[labels[first] == 0].tolist()) != set(range(10))


def test_a_class_that_is_missing_takes_no_place():
    assert balanced_order(torch.tensor([5, 2, 5, 2])).sort().values.tolist() == [0, 1, 2, 3]


def test_a_set_gives_its_parts_within_each_other():
    labels = sorted_by_class(5, 5)
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    whole = ImageSet(images, labels, ("a", "b"))
    four, six = whole.part(4), whole.part(6)
    assert torch.equal(four, six[:4])
    assert torch.bincount(labels[four]).tolist() == [2, 2]
    assert torch.equal(whole.take(four).images.flatten().long(), four)
