"""Checks that public functions are given the kinds of values that their annotations name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from spikeproof.errors import SpikeproofError

Given = ParamSpec("Given")
Result = TypeVar("Result")
Made = TypeVar("Made")

_NUMBERS: dict[Any, tuple[type, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}


def check_kinds(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """A decorator: the function refuses arguments of other kinds than its annotations name, before it does anything.

    A whole number passes as a float, but a bool passes as no number, and a text as no sequence. What annotations say
    beyond kinds (shapes of tensors, choices of a Literal) is left to the function.

    Args:
        function: with annotations that can be evaluated.

    Raises:
        SpikeproofError: from the decorated function, where an argument is of another kind. The message says which kind
            was expected and, where that can be guessed, what was meant.

    Example:
        >>> @check_kinds
        ... def double(count: int) -> int:
        ...     return 2 * count
        >>> double(2.0)
        Traceback (most recent call last):
        spikeproof.errors.SpikeproofError: The count of double must be a whole number, not 2.0 (a float); give 2.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def guarded(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for name, value in bound(function, signature, *args, **kwargs).arguments.items():
            _check(value, _hints(function).get(name, Any), f"The {name} of {function.__name__}")
        return function(*args, **kwargs)

    return guarded


def check_fields(kind: type[Made]) -> type[Made]:
    """A decorator: where a field of the dataclass takes numbers alone, or None, it refuses what is none.

    So what its own ``__post_init__`` compares are numbers.

    Args:
        kind: a dataclass.

    Raises:
        SpikeproofError: from the decorated class, as ``check_kinds`` has it.

    Example:
        >>> @check_fields
        ... @dataclasses.dataclass
        ... class Dose:
        ...     eta: float = 0.5
        >>> Dose("0.5")
        Traceback (most recent call last):
        spikeproof.errors.SpikeproofError: The eta of Dose must be a number, not '0.5' (a str).
    """
    anyone: Any = kind
    made = anyone.__init__

    @functools.wraps(made)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        names = (field.name for field in dataclasses.fields(self) if field.init)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            hint = _hints(anyone).get(name, Any)
            if {*(get_args(hint) or (hint,))} <= {int, float, type(None)}:
                _check(value, hint, f"The {name} of {kind.__name__}")
        made(self, *args, **kwargs)

    anyone.__init__ = guarded
    return kind


def bound(
    function: Callable[..., Any], signature: inspect.Signature, /, *args: Any, **kwargs: Any
) -> inspect.BoundArguments:
    """What each argument of a call is given.

    Args:
        function: gives its name to the message.
        signature: its own, made once.
        args, kwargs: of the call.

    Raises:
        TypeError: an argument is missing or there is none of that name, as in any call of Python's. Where a config that
            the function takes has a field of that name, the message says so.
    """
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = [name for name in kwargs if name not in signature.parameters]
        meant = "".join(_field_of(function, name) for name in unknown[:1])
        raise TypeError(f"{function.__name__}(): {error}{meant}") from None


def _field_of(function: Callable[..., Any], name: str) -> str:
    """Which argument's class has a field of this name, as the end of a message; "" where none has."""
    for argument, hint in _hints(function).items():
        for kind in _classes(hint):
            if dataclasses.is_dataclass(kind) and name in {field.name for field in dataclasses.fields(kind)}:
                return f"; it is a field of {kind.__name__}: {argument}={kind.__name__}({name}=...)"
    return ""


def _classes(hint: Any) -> list[type]:
    """The classes that an annotation allows by itself, those inside a list left out."""
    union = get_origin(hint) in (Union, types.UnionType)
    return [kind for kind in (get_args(hint) if union else (hint,)) if isinstance(kind, type)]


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    return get_type_hints(of)


def _check(value: Any, hint: Any, what: str) -> None:
    if not _fits(value, hint):
        meant = _meant(value, hint)
        raise SpikeproofError(f"{what} must be {_in_words(hint)}, not {_shown(value)}{f'; {meant}' if meant else ''}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint][0]) and not isinstance(value, bool)
    if origin is Annotated:
        return _fits(value, inside[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inside)
    if origin is Literal:
        return True  # the function checks the choices itself, with a better message
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        kinds = [inside[0]] * len(value) if inside[1:] == (...,) else list(inside)
        return len(kinds) == len(value) and all(_fits(one, kind) for one, kind in zip(value, kinds, strict=True))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        several = isinstance(value, origin) and not isinstance(value, str | bytes)
        return several and all(_fits(one, inside[0]) for one in value)
    if hint is None:
        return value is None
    if isinstance(origin, type):  # Callable[...], dict[...]: what is inside is not checked
        return isinstance(value, origin)
    if hasattr(hint, "array_type"):  # jaxtyping
        return isinstance(value, hint.array_type)
    checkable = isinstance(hint, type) and not getattr(hint, "_is_protocol", False)
    return isinstance(value, hint) if checkable else True


def _in_words(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if hint in _NUMBERS:
        return _NUMBERS[hint][1]
    if hint is str:
        return "a text"
    if hint in (None, type(None)):
        return "None"
    if origin is Annotated:
        return _in_words(inside[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_in_words(each) for each in inside))
    if origin is Literal:
        return " or ".join(map(repr, inside))
    if origin is tuple:
        items = _in_words(inside[0]).removeprefix("a ")
        return f"a tuple, each of it a {items}" if inside[1:] == (...,) else f"{len(inside)} values in a tuple"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each of it {_in_words(inside[0])}"
    if hasattr(hint, "array_type"):
        return _in_words(hint.array_type)
    name = getattr(origin or hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _meant(value: Any, hint: Any) -> str:
    """What may have been meant, such as "give 2"; "" where that cannot be guessed."""
    inside = get_args(hint)
    if isinstance(value, float) and value.is_integer() and _fits(int(value), hint):
        return f"give {int(value)}"
    if not isinstance(value, list | tuple) and _fits([value], hint):
        return "put it into a list"
    attributes = [f".{name}" for name, each in getattr(value, "__dict__", {}).items() if _fits(each, hint)]
    if attributes and not isinstance(value, type):
        return f"give its {' or '.join(attributes)}"
    classes = [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, type)]
    kinds = [kind for kind in (hint, *inside) if isinstance(kind, type)]
    if any(issubclass(one, tuple(kinds)) for one in classes if kinds):
        return f"{classes[0].__name__} is a class, and {classes[0].__name__}() one of its kind"
    # A config or a split is made by a call of its class; what the call needs is what has no default.
    makes = [kind for kind in _classes(hint) if dataclasses.is_dataclass(kind)]
    return f"{_call_of(makes[0])} makes one" if makes else ""


def _call_of(kind: Any) -> str:
    """How a dataclass is made, with the fields that it needs: "ImageSet(images, labels, class_names)"."""
    given = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [
        field.name
        for field in dataclasses.fields(kind)
        if field.init and (field.default, field.default_factory) == given
    ]
    return f"{kind.__name__}({', '.join(needed) or '...'})"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in value)) or "nothing"
        return f"a {type(value).__name__} of {kinds}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    plain = isinstance(value, str | bytes | numbers.Number) or value is None
    return f"{value!r:.80} ({article} {name})" if plain else f"{article} {name}"
