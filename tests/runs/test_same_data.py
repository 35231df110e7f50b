"""Whose data are at hand: what is refused, what is only said, and what older runs do not know."""

import pytest

from spikeproof.runs import other_data
from spikeproof.runs.same_data import refuse_other_data

MINE = {"class_names": ["cat", "dog"], "train": "1", "validation": "2", "test": "3"}


@pytest.mark.parametrize(
    ("part", "said"),
    [("class_names", "class names"), ("train", "training images"), ("validation", "validation images")],
)
def test_a_run_is_not_gone_on_with_on_other_data(refuses, tmp_path, part, said):
    with refuses(tmp_path, f"other {said};"):
        refuse_other_data(tmp_path, MINE, MINE | {part: "other"})


def test_training_may_go_on_beside_another_test_split(tmp_path):
    refuse_other_data(tmp_path, MINE, MINE | {"test": "other"})


def test_an_audit_on_other_images_says_so_of_the_split_alone(tmp_path):
    assert other_data(tmp_path, MINE, MINE, "test") == []
    assert other_data(tmp_path, MINE, MINE | {"train": "other"}, "test") == []
    (said,) = other_data(tmp_path, MINE, MINE | {"test": "other"}, "test")
    assert said.startswith("The test images are not those that the run had")


def test_an_audit_on_other_classes_is_refused(refuses, tmp_path):
    with refuses(tmp_path, "cat, dog, ...", "dog, cat, ...", "another class"):
        other_data(tmp_path, MINE, MINE | {"class_names": ["dog", "cat"]}, "test")


def test_a_run_from_before_fingerprints_knows_of_no_other_data(tmp_path):
    refuse_other_data(tmp_path, None, MINE)
    assert other_data(tmp_path, None, MINE, "test") == []
