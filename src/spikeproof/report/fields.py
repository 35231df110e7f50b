"""Checked reading of one JSON object: every complaint names the file, the field, what was expected and the mend."""

from __future__ import annotations

import json
import math
from pathlib import Path

from spikeproof.disk import unsealed
from spikeproof.errors import SpikeproofError


def parse_json(text: str, where: str, mend: str) -> object:
    """The value that ``text`` holds. NaN and Infinity are accepted: a diverged loss is a fact, not damage."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpikeproofError(f"{where} is not valid JSON ({error}); {mend}.") from error
    return value


def read_text(path: Path, mend: str) -> str:
    """The text of ``path``, or a SpikeproofError that says why there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpikeproofError(f"{path} is missing, and a run folder needs it; {mend}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpikeproofError(f"{path} cannot be read ({error}); {mend}.") from error


class Fields:
    """The fields of one JSON object; each method returns one field as the asked type or raises SpikeproofError."""

    def __init__(self, raw: object, where: str, mend: str) -> None:
        if not isinstance(raw, dict):
            raise SpikeproofError(f"{where} should be a JSON object, got {_short(raw)}; {mend}.")
        self.raw: dict[str, object] = raw
        self.where = where
        self.mend = mend

    @classmethod
    def read(cls, path: Path, mend: str) -> Fields:
        """The JSON object that a file holds, if it is what was written.

        Raises:
            SpikeproofError: the file is missing or damaged.
        """
        return cls(parse_json(read_text(path, mend), str(path), mend), str(path), mend).unsealed()

    def unsealed(self) -> Fields:
        """The same fields without their checksum.

        Raises:
            SpikeproofError: they are not what was written.
        """
        return Fields(unsealed(self.raw, self.where, self.mend), self.where, self.mend)

    def _wrong(self, name: str, expected: str) -> SpikeproofError:
        got = _short(self.raw[name]) if name in self.raw else "nothing"
        return SpikeproofError(f"{self.where}: {name!r} should be {expected}, got {got}; {self.mend}.")

    def absent(self, name: str) -> bool:
        """Whether the field is left out or null."""
        return self.raw.get(name) is None

    def text(self, name: str) -> str:
        value = self.raw.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.raw.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of texts")
        return tuple(value)

    def whole(self, name: str) -> int:
        """A count: a whole number that is not negative."""
        value = self.raw.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
            raise self._wrong(name, "a whole number from 0")
        return value

    def truth(self, name: str) -> bool:
        value = self.raw.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def number(self, name: str) -> float:
        """Any number; NaN and infinities pass."""
        value = self.raw.get(name)
        if not _is_number(value):
            raise self._wrong(name, "a number")
        return float(value)  # type: ignore[arg-type]

    def positive(self, name: str) -> float:
        value = self.number(name)
        if not (math.isfinite(value) and value > 0):
            raise self._wrong(name, "a positive number")
        return value

    def fraction(self, name: str, *, undefined: bool = False) -> float:
        """A number in [0, 1]; with ``undefined`` also NaN or null (as NaN), for a share of nothing."""
        if undefined and self.absent(name):
            return math.nan
        value = self.number(name)
        if not (0 <= value <= 1 or (undefined and math.isnan(value))):
            raise self._wrong(name, "a fraction from 0 to 1")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        value = self.raw.get(name)
        if not isinstance(value, list) or not all(_is_number(item) and math.isfinite(item) for item in value):
            raise self._wrong(name, "a list of finite numbers")
        return tuple(float(item) for item in value)

    def named_numbers(self, name: str) -> dict[str, float]:
        """A JSON object whose values are all numbers."""
        value = self.raw.get(name)
        if not isinstance(value, dict) or not all(_is_number(item) for item in value.values()):
            raise self._wrong(name, "an object of numbers")
        return {key: float(item) for key, item in value.items()}

    def child(self, name: str) -> Fields:
        """A nested object."""
        if name not in self.raw:
            raise self._wrong(name, "a JSON object")
        return Fields(self.raw[name], f"{self.where}, {name!r}", self.mend)

    def children(self, name: str) -> tuple[Fields, ...]:
        """A list of nested objects."""
        value = self.raw.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return tuple(Fields(item, f"{self.where}, {name!r} entry {i}", self.mend) for i, item in enumerate(value))


def _is_number(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023  # a float holds no more
    return isinstance(value, float)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
