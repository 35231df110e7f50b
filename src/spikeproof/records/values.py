"""What one value in a file may be. All types are strict: 1.0 is no whole number, and true is no number."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, Strict
from pydantic_core import PydanticCustomError

LARGEST_WHOLE = 2**53 - 1  # up to this, every JSON reader keeps whole numbers exactly
LARGEST_SEED = 2**63 - 1
_LARGEST = 1e15  # up to this, sums of such numbers are exact enough too
_Items = TypeVar("_Items", bound=tuple[Hashable, ...])


def wrong(expected: str) -> PydanticCustomError:
    """The error for a wrong value; ``expected`` says what it should be, such as "a whole number"."""
    return PydanticCustomError("wrong", "It should be {expected}", {"expected": expected})


def contradiction(field: str, expected: str) -> PydanticCustomError:
    """The error for a record that contradicts itself.

    Args:
        field: the field that the message names, with dots for fields within fields.
        expected: what that field should be, and what it is.
    """
    return PydanticCustomError("contradiction", "It should be {expected}", {"field": field, "expected": expected})


def whole(value: object) -> object:
    """The value, unless it is a float: pydantic would let 4.0 pass for the literal 4.

    Raises:
        PydanticCustomError: it is a float.
    """
    if isinstance(value, float):
        raise wrong("a whole number")
    return value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise wrong("a text of one printable line")
    return text


def _share_or_nan(value: float) -> float:
    if not (0 <= value <= 1 or math.isnan(value)):
        raise wrong("a fraction from 0 to 1, or NaN")
    return value


def _each_once(items: _Items) -> _Items:
    if len(set(items)) < len(items):
        raise wrong("a list without repetitions")
    return items


def _zero_without_sign(value: float) -> float:
    return value + 0.0  # -0.0 becomes 0.0, so that equal rows have equal bytes


Text = Annotated[str, Strict()]
Truth = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0, le=LARGEST_WHOLE)]
FromOne = Annotated[int, Strict(), Field(ge=1, le=LARGEST_WHOLE)]
FromTwo = Annotated[int, Strict(), Field(ge=2, le=LARGEST_WHOLE)]
Seed = Annotated[int, Strict(), Field(ge=0, le=LARGEST_SEED)]
# NaN and infinities pass: a diverged loss is a fact, not damage.
Number = Annotated[float, Strict()]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
# A share of nothing is NaN.
ShareOrNaN = Annotated[float, Strict(), AfterValidator(_share_or_nan)]

# Those of result files, which anyone's program may read or write.
_SLUG = "^[a-z0-9]+([._-][a-z0-9]+)*$"
_HASH = "^[0-9a-f]{8,64}$"
_FINGERPRINT = "^([0-9a-f]{16})?$"
# For each pattern, in words what a text should be.
PATTERNS = {
    _SLUG: "lower-case letters and digits with single dashes, dots or underscores between them",
    _HASH: "8 to 64 hexadecimal digits in lower case",
    _FINGERPRINT: "16 hexadecimal digits in lower case, or nothing",
}
_LINE = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}

Slug = Annotated[str, Strict(), Field(pattern=_SLUG, max_length=80, description=PATTERNS[_SLUG])]  # it names files
Hash = Annotated[str, Strict(), Field(pattern=_HASH, description=PATTERNS[_HASH])]
Fingerprint = Annotated[str, Strict(), Field(pattern=_FINGERPRINT, description=PATTERNS[_FINGERPRINT])]
Line = Annotated[
    str,
    Strict(),
    Field(description="a text of one printable line", json_schema_extra=_LINE),
    AfterValidator(_printable),
]
Named = Annotated[
    str,
    Strict(),
    Field(min_length=1, description="a text of one printable line, not empty", json_schema_extra=_LINE),
    AfterValidator(_printable),
]
Real = Annotated[
    float,
    Strict(),
    Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False),
    AfterValidator(_zero_without_sign),
]
AboveZero = Annotated[float, Strict(), Field(gt=0, le=_LARGEST, allow_inf_nan=False)]
Eps = Annotated[float, Strict(), Field(gt=0, le=1, allow_inf_nan=False)]
Percent = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
FromZero = Annotated[
    float,
    Strict(),
    Field(ge=0, le=_LARGEST, allow_inf_nan=False),
    AfterValidator(_zero_without_sign),
]
Slugs = Annotated[tuple[Slug, ...], AfterValidator(_each_once), Field(json_schema_extra={"uniqueItems": True})]
Names = Annotated[tuple[Named, ...], AfterValidator(_each_once), Field(json_schema_extra={"uniqueItems": True})]
