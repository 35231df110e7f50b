"""What one value in a file may be: strict, with its bounds, and refused in one sentence that names field and value."""

import math

import pytest
from pydantic import create_model

from spikeproof.errors import SpikeproofError
from spikeproof.records import values
from spikeproof.records.reading import as_record
from spikeproof.records.record import FileRecord

GOOD = {
    "Text": ["", "a"],
    "Truth": [True, False],
    "Whole": [0, 2**53 - 1],
    "FromOne": [1],
    "FromTwo": [2],
    "Seed": [0, 2**63 - 1],
    "Number": [0.5, -1.0, math.inf],
    "Finite": [-1e300],
    "Positive": [1e-300],
    "Share": [0.0, 1.0],
    "ShareOrNaN": [0.0, 1.0, math.nan],
    "Slug": ["a", "c10-at.mpd_sgr-2"],
    "Hash": ["0123abcd", "f" * 64],
    "Fingerprint": ["", "0123456789abcdef"],
    "Line": ["", "JPEG-recompressed"],
    "Named": ["x"],
    "Real": [-1e15, 1e15],
    "AboveZero": [1e-9],
    "Eps": [1.0, 8 / 255],
    "Percent": [0.0, 100.0],
    "FromZero": [0.0],
    "Slugs": [(), ("a", "b")],
    "Names": [("A", "B")],
}
BAD = {
    "Text": [1, None],
    "Truth": [1, "true"],
    "Whole": [-1, 1.0, True, 2**53],
    "FromOne": [0],
    "FromTwo": [1],
    "Seed": [-1, 2**63],
    "Number": ["0.5", True],
    "Finite": [math.nan, math.inf],
    "Positive": [0.0, math.inf],
    "Share": [-1e-9, 1.001, math.nan],
    "ShareOrNaN": [1.001, math.inf],
    "Slug": ["", "A", "a--b", "../a", "a" * 81],
    "Hash": ["0123ABCD", "0123abc", "g" * 8],
    "Fingerprint": ["0123"],
    "Line": ["two\nlines", "\x1b[31m"],
    "Named": [""],
    "Real": [math.nan, 2e15],
    "AboveZero": [0.0],
    "Eps": [0.0, 1.5],
    "Percent": [100.1],
    "FromZero": [-0.1],
    "Slugs": [("a", "a"), ("A",)],
    "Names": [("A", "A"), ("",)],
}


def held(kind, value):
    """The value as a record of one field has it."""
    record = create_model("One", __base__=FileRecord, field=(getattr(values, kind), ...))
    return as_record(record, {"field": value}, "one.json", "mend it").field


def test_both_lists_have_every_kind():
    kinds = {name for name, kind in vars(values).items() if name[0].isupper() and hasattr(kind, "__metadata__")}
    assert kinds == set(GOOD) == set(BAD)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, each in GOOD.items() for value in each])
def test_what_fits_is_kept(kind, value):
    kept = held(kind, value)
    assert kept == value or (math.isnan(kept) and math.isnan(value))


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, each in BAD.items() for value in each])
def test_what_does_not_fit_is_refused_in_a_sentence(kind, value):
    with pytest.raises(SpikeproofError, match=r"^one\.json: 'field.*' should .+; mend it\.$") as refused:
        held(kind, value)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_zero_has_no_sign():
    assert math.copysign(1, held("Real", -0.0)) == 1
