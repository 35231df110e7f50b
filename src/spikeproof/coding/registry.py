"""Every coding by its name, as text ("rsc(sigma=0.1)") and as plain values."""

from __future__ import annotations

import dataclasses
from typing import Any

from spikeproof.calls import read_call
from spikeproof.coding.coding import Coding
from spikeproof.coding.direct import Direct
from spikeproof.coding.frames import Frames
from spikeproof.coding.frequency import Frequency
from spikeproof.coding.poisson import Poisson
from spikeproof.coding.randomized_smoothing import RSC
from spikeproof.coding.signed_rate import SignedRate
from spikeproof.coding.stochastic_quantisation import SQE

# A new one needs an import above and a place here: the command line, weights, recipes' texts and the tests read this.
CODINGS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Direct, Frames, Frequency, Poisson, RSC, SQE, SignedRate)
}


def parse_coding(text: str) -> Coding:
    """A coding from text: its name in any case, and its numbers where they are not the defaults.

    Several numbers of one kind, such as one for each step, are written with a / between them.

    Args:
        text: such as "direct", "rsc(sigma=0.2)" or "frequency(16/14/12/10)".

    Raises:
        SpikeproofError: an unknown name, an unknown or impossible number.

    Example:
        >>> parse_coding("direct"), parse_coding("rsc(sigma=0.2)"), parse_coding("frequency(16/14/12/10)")
        (Direct(), RSC(sigma=0.2), Frequency(radii=(16, 14, 12, 10)))
    """
    made: Coding = read_call(text, CODINGS, "coding", "rsc(sigma=0.1)")
    return made


def coding_to_json(coding: Coding) -> dict[str, Any]:
    """The coding's class name under "name", and its fields as plain values."""
    return {"name": type(coding).__name__, **dataclasses.asdict(coding)}  # type: ignore[call-overload]


def coding_from_json(plain: dict[str, Any]) -> Coding:
    """The coding that :func:`coding_to_json` wrote.

    Args:
        plain: "name" and the fields.

    Raises:
        KeyError, TypeError: it was not written by it.
    """
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in plain.items() if name != "name"
    }
    made: Coding = CODINGS[plain["name"]](**values)
    return made


def coding_to_text(coding: Coding) -> str:
    """The text that :func:`parse_coding` reads; fields with their default value are left out.

    Example:
        >>> coding_to_text(Frequency((16, 14))), coding_to_text(Poisson())
        ('frequency(radii=16/14)', 'poisson')
    """
    fields = []
    for field in dataclasses.fields(coding):  # type: ignore[arg-type]
        value = getattr(coding, field.name)
        if value != field.default:
            fields.append(f"{field.name}={'/'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return type(coding).__name__.lower() + (f"({', '.join(fields)})" if fields else "")
