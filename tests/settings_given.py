"""Gives what is no number to every setting of the public dataclasses that takes numbers alone.

Prints how many were tried, and a line for each that was not refused in a sentence which names the setting.
"""

import dataclasses
import typing

import spikeproof as sp

WRONG = ("0.1", "x", [1], object(), 1j, True)


def numbers_of(kind):
    """The fields that take numbers alone, or numbers and None."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        allowed = set(typing.get_args(hints[field.name]) or (hints[field.name],)) - {type(None)}
        if field.init and allowed and allowed <= {int, float}:
            yield field.name


def needed(kind):
    """A number for each field that has no default."""
    missing = dataclasses.MISSING
    fields = [field for field in dataclasses.fields(kind) if field.init]
    return {field.name: 0.1 for field in fields if field.default is missing and field.default_factory is missing}


def kinds():
    """The public dataclasses that a user makes: what the library returns writes itself as JSON.

    Balls are left out: a radius may be a text, such as "8/255".
    """
    for name in dir(sp):
        kind = getattr(sp, name)
        if (
            isinstance(kind, type)
            and dataclasses.is_dataclass(kind)
            and not hasattr(kind, "to_json")
            and not hasattr(kind, "parse")
        ):
            yield kind


def outcome(kind, name, value):
    """ "" where the value is refused in a sentence, else what happened."""
    try:
        kind(**needed(kind) | {name: value})
    except sp.SpikeproofError as error:
        return "" if name.replace("_", " ") in str(error).replace("_", " ") else str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


cases = [(kind, name, value) for kind in kinds() for name in numbers_of(kind) for value in WRONG]
print(len(cases))
for kind, name, value in cases:
    if said := outcome(kind, name, value):
        print(f"{kind.__name__}({name}={value!r}): {said}")
