"""Codings as text, on the command line and as plain values."""

import dataclasses
import json

import pytest
import tyro

from spikeproof.coding import (
    RSC,
    SQE,
    CodingField,
    Direct,
    Frequency,
    Poisson,
    SignedRate,
    coding_from_json,
    coding_to_json,
    coding_to_text,
    parse_coding,
)

EVERY = [
    Direct(),
    Poisson(),
    SQE(),
    SQE(levels=5),
    RSC(),
    RSC(sigma=1e-05),
    Frequency(),
    Frequency((16, 14, 12, 10)),
    Frequency((7,)),
    SignedRate(),
    SignedRate(mean=(0.4914, 0.4822, 0.4465)),
    SignedRate(mean=(0, 1)),
]


@pytest.mark.parametrize(
    ("text", "coding"),
    [
        ("direct", Direct()),
        (" Direct() ", Direct()),
        ("poisson", Poisson()),
        ("sqe", SQE()),
        ("SQE(levels=3)", SQE(levels=3)),
        ("sqe( 3 )", SQE(levels=3)),
        ("rsc(sigma=0.25)", RSC(sigma=0.25)),
        ("rsc(1e-2)", RSC(sigma=0.01)),
        ("rsc(1)", RSC(sigma=1)),
        ("frequency", Frequency()),
        ("frequency(16/14/12/10)", Frequency((16, 14, 12, 10))),
        ("frequency(radii=16 / 14)", Frequency((16, 14))),
        ("frequency(16)", Frequency((16,))),
        ("signedrate", SignedRate()),
        ("signed-rate(0.3)", SignedRate(mean=(0.3,))),
        ("signed_rate(mean=0.1/0.2/0.3)", SignedRate(mean=(0.1, 0.2, 0.3))),
    ],
)
def test_text_is_read(text, coding):
    assert parse_coding(text) == coding


@pytest.mark.parametrize("coding", EVERY, ids=str)
def test_there_and_back(coding):
    assert parse_coding(coding_to_text(coding)) == coding
    back = coding_from_json(json.loads(json.dumps(coding_to_json(coding))))
    assert back == coding and hash(back) == hash(coding)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("fourier", ("'fourier'", "poisson", "sqe", "frequency", "signedrate")),
        ("", ("''",)),
        ("rsc(0.1", ("'rsc(0.1'",)),
        ("poisson(2)", ("takes no numbers",)),
        ("sqe(bits=2)", ("takes levels",)),
        ("sqe(2, 3)", ("takes levels",)),
        ("sqe(2, levels=3)", ("at most once",)),
        ("sqe(levels=two)", ("'two'", "not a number")),
        ("sqe(levels=)", ("''", "not a number")),
        ("sqe(levels=2/3)", ("'2/3'", "not a number")),
        ("sqe(levels=2.5)", ("levels", 2.5)),
        ("rsc(sigma=-1)", ("sigma", -1)),
        ("frequency(16//12)", ("'16//12'", "not a number")),
        ("frequency(0)", ("radius",)),
    ],
)
def test_text_that_is_no_coding_is_refused(text, pieces, refuses):
    with refuses(*pieces):
        parse_coding(text)


@dataclasses.dataclass
class Options:
    coding: CodingField = Direct()


@pytest.mark.parametrize("coding", EVERY, ids=str)
def test_the_command_line_reads_and_shows_it(coding):
    assert tyro.cli(Options, args=["--coding", coding_to_text(coding)]).coding == coding
    assert tyro.cli(Options, args=[], default=Options(coding)).coding == coding
