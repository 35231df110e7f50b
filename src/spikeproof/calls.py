"""Objects as people write them, ``name(numbers)``: "sigmoid(2.5)", "gaussian(1, centre=-1)", "frequency(16/14)"."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from spikeproof.errors import SpikeproofError
from spikeproof.names import plain


def read_call(text: str, kinds: Mapping[str, type[Any]], what: str, example: str) -> Any:
    """Make the object that a text describes, such as "gaussian(1, centre=-1)".

    The name may be in any case. Numbers stand in the order of the object's fields, or behind a field's name and "=";
    fields without a number have their defaults. Several numbers of one field, such as one for each step, have "/"
    between them.

    Args:
        text: a name, and numbers in parentheses.
        kinds: dataclasses of numbers, by their names.
        what: what each of them is, for the error message.
        example: a correct text, for the error message.

    Raises:
        SpikeproofError: an unknown name or field, something that is no number, or a number that the object refuses.

    Example:
        >>> from spikeproof.spiking import Gaussian
        >>> read_call("Gaussian(0.3, centre=1)", {"Gaussian": Gaussian}, "surrogate", "gaussian(0.3)")
        Gaussian(sigma=0.3, centre=1.0)
    """
    no = f"{text!r:.80} is not a {what}"
    known = {plain(name): name for name in kinds}
    match = re.fullmatch(r"([\w-]+)(?:\(([^()]*)\))?", text.strip())
    if match is None or plain(match[1]) not in known:
        raise SpikeproofError(f"{no}; give one of {', '.join(map(str.lower, kinds))}, or as in {example!r}.")
    kind = kinds[known[plain(match[1])]]
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    written = (match[2] or "").strip()
    for index, argument in enumerate(written.split(",") if written else ()):
        name, _, number = argument.rpartition("=")
        name = name.strip() or (list(fields)[index] if index < len(fields) else "")
        if name not in fields or name in values:
            takes = " and ".join(fields) + ", each at most once" if fields else "no numbers"
            raise SpikeproofError(f"{no}: {match[1]} takes {takes}.")
        values[name] = _numbers(number, fields[name], no)
    try:
        return kind(**values)
    except SpikeproofError as error:
        raise SpikeproofError(f"{no}: {error}") from None


def _numbers(text: str, field: str, no: str) -> Any:
    """The value of a field of this type: a number, or a tuple of numbers."""
    number = int if "int" in field else float
    try:
        return tuple(map(number, text.split("/"))) if field.startswith("tuple") else number(text)
    except ValueError:
        raise SpikeproofError(f"{no}: {text.strip()!r:.80} is not a {'whole ' * (number is int)}number.") from None
