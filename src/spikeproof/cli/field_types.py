"""How the command line writes what is neither number nor word: "8/255", "sigmoid(2.5)", "rsc(sigma=0.1)"."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, get_args

from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from spikeproof.coding import CODINGS, Coding, coding_to_text, parse_coding
from spikeproof.spiking import SURROGATES, parse_surrogate
from spikeproof.threat import parse_eps


def field_type(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """tyro's rule for a field of such a type; None for all others."""
    kinds = set(get_args(info.type) or (info.type,))
    if kinds - {NoneType} == {float, str}:
        return _written("EPS", _eps, (float, int, str, NoneType), _eps_text)
    if kinds & set(SURROGATES.values()):
        return _written("SURROGATE", parse_surrogate, tuple(SURROGATES.values()), str)
    if kinds & {Coding, *CODINGS.values()}:
        return _written("CODING", parse_coding, tuple(CODINGS.values()), coding_to_text)
    return None


def _written(
    metavar: str, read: Callable[[str], Any], kinds: tuple[type, ...], write: Callable[[Any], str]
) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, kinds),
        str_from_instance=lambda value: [write(value)],
    )


def _eps(text: str) -> float | None:
    return None if text == "None" else parse_eps(text)


def _eps_text(value: float | str | None) -> str:
    return f"{value:.6g}" if isinstance(value, float | int) else str(value)
