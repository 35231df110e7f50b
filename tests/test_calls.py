"""Objects as people write them: which texts are read, and the one sentence that any other gets."""

import dataclasses
import itertools

import pytest

from spikeproof.calls import read_call
from spikeproof.coding import CODINGS, parse_coding
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import SURROGATES, parse_surrogate


@dataclasses.dataclass(frozen=True)
class Bare:
    """An object without numbers."""


@dataclasses.dataclass(frozen=True)
class Round:
    """A whole number, a number, and several of each kind."""

    count: int = 1
    size: float = 2.0
    places: tuple[int, ...] | None = None
    shares: tuple[float, ...] = (0.5,)

    def __post_init__(self):
        if self.size < 0:
            raise SpikeproofError(f"Round needs size >= 0, got {self.size}.")


KINDS = {"Bare": Bare, "RoundThing": Round}
# Where a number is expected, what is none; and what is a number, but no whole one.
NO_NUMBERS = ["", " ", "a", "1 2", "1/2", "0x1", "=1", "1;2", "٣a"]
NO_WHOLE_NUMBERS = ["1.5", "1e3", "nan", "inf"]


def read(text):
    return read_call(text, KINDS, "thing", "bare")


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("bare", Bare()),
        (" BARE() ", Bare()),
        ("bare( )", Bare()),
        ("roundthing", Round()),
        ("Round-Thing(3)", Round(3)),
        ("round_thing( 3 , 1e-2 )", Round(3, 0.01)),
        ("roundthing(size = 4, count=2)", Round(2, 4.0)),
        ("roundthing(2, shares=1/0.5)", Round(2, shares=(1.0, 0.5))),
        ("roundthing(1, 2, 16 / 14)", Round(1, 2.0, (16, 14))),
    ],
)
def test_text_is_read(text, thing):
    made = read(text)
    assert made == thing
    assert [type(value) for value in vars(made).values()] == [type(value) for value in vars(thing).values()]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("square", ["bare, roundthing", "'bare'"]),
        ("", ["''", "bare, roundthing"]),
        ("bare(1)", ["bare takes no numbers"]),
        ("roundthing(depth=1)", ["takes count and size and places and shares, each at most once"]),
        ("roundthing(1, count=1)", ["at most once"]),
        ("roundthing(1, 2, 3, 4, 5)", ["at most once"]),
        ("roundthing(1,)", ["''"]),
        ("roundthing(size=-1)", ["size >= 0", "-1"]),
        ("roundthing(places=1//2)", ["'1//2'", "whole number"]),
    ],
)
def test_what_is_wrong_is_said(text, pieces, refuses):
    with refuses(f"{text!r} is not a thing", *pieces):
        read(text)


@pytest.mark.parametrize(
    "shell", ["{}(", "{})", "({})", "{}(1", "{}(1))", "{}((1))", "{}(1)(2)", "{}(1)2", "{}(1\n", "a {}"]
)
def test_a_broken_shell_is_refused(shell, refuses):
    for name in ("bare", "roundthing"):
        with refuses("is not a thing"):
            read(shell.format(name))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Round)])
def test_a_number_that_is_none_is_refused(field, refuses):
    whole = field in ("count", "places")
    bad = [*NO_NUMBERS, *(NO_WHOLE_NUMBERS if whole else [])]
    if field in ("places", "shares"):
        bad.remove("1/2")
    for text in bad:
        with refuses("is not a thing"):
            read(f"roundthing({field}={text})")


def test_a_text_of_thousands_of_digits_is_quoted_by_its_beginning(refuses):
    for text in (f"roundthing({'9' * 9000})", f"roundthing(size={'x' * 9000})", "y" * 9000):
        with pytest.raises(SpikeproofError) as caught:
            read(text)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "parse"),
    [*((name, parse_surrogate) for name in SURROGATES), *((name, parse_coding) for name in CODINGS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_listed_kind_is_read_and_every_ill_formed_text_of_it_refused(name, parse, refuses):
    kind = {**SURROGATES, **CODINGS}[name]
    for text in (name, name.lower(), f"{name.upper()}()"):
        assert parse(text) == kind()
    fields = [field.name for field in dataclasses.fields(kind)]
    for first, second in itertools.product(
        [f"{name}(", f"{name}()", name], ["(", ")", ",", "=1", "(1", "(=)", "(a=1)", "(x)"]
    ):
        if first + second != f"{name}()":
            with refuses("is not a"):
                parse(first + second)
    for field in fields:
        for bad in ("", "x", "nan", "-inf"):
            with refuses(f"{name}({field}={bad})"):
                parse(f"{name}({field}={bad})")
