"""From a file to a record: each way in which a file can be wrong is one sentence that names file, field and way out."""

import json

import pytest

from spikeproof.disk import sealed
from spikeproof.errors import SpikeproofError
from spikeproof.records.reading import read_record, sealed_lines
from spikeproof.records.run_json import Note, Taken

MEND = "train it again"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "facts.json"


def refused(path, kind=Note):
    with pytest.raises(SpikeproofError) as error:
        read_record(kind, path, MEND)
    said = str(error.value)
    assert said.startswith(str(path))
    assert said.endswith(f"; {MEND}.")
    assert "\n" not in said
    return said


def test_what_was_written_is_read(path):
    path.write_text(json.dumps(sealed({"data_note": "a subset"})))
    assert read_record(Note, path, MEND) == Note(data_note="a subset")


def test_a_file_from_before_there_were_checksums_is_read(path):
    path.write_text('{"measure": "proximal share", "value": NaN}')
    assert read_record(Taken, path, MEND).measure == "proximal share"


def test_no_file(path):
    assert "is missing" in refused(path)


def test_a_folder_in_its_place(path):
    path.mkdir()
    assert "cannot be read" in refused(path)


def test_bytes_that_are_no_text(path):
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize("text", ["", "{", "{'data_note': 1}", "[" * 100_000])
def test_no_json(path, text):
    path.write_text(text)
    assert "is not valid JSON" in refused(path)


@pytest.mark.parametrize("text", ["[]", "3", '"a subset"', "null"])
def test_json_that_is_no_object(path, text):
    path.write_text(text)
    assert "should be a JSON object" in refused(path)


def test_a_field_twice(path):
    path.write_text('{"data_note": "a", "data_note": "b"}')
    assert "'data_note'" in refused(path)


def test_a_field_that_lacks(path):
    path.write_text('{"measure": "proximal share"}')
    assert "the field 'value' is missing" in refused(path, Taken)


def test_a_field_of_another_kind(path):
    path.write_text('{"data_note": {"a": 1}}')
    assert "'data_note' should be a text, got {'a': 1}" in refused(path)


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_a_flipped_bit_is_refused(path, place):
    whole = bytearray(json.dumps(sealed({"measure": "proximal share", "value": 0.25})).encode())
    whole[place] ^= 1
    path.write_bytes(bytes(whole))
    refused(path, Taken)


def test_a_long_value_is_quoted_in_part(path):
    path.write_text(json.dumps({"data_note": ["x" * 1000]}))
    assert len(refused(path)) < len(str(path)) + 200


def test_of_lines_the_wrong_one_is_named(path):
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(SpikeproofError, match="line 3"):
        sealed_lines(path, MEND)
