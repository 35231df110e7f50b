"""How a trial names a gradient source: what it is made of, what of it may be tuned, and whether it adapts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from spikeproof.errors import SpikeproofError
from spikeproof.gradients.source import GradientSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tunable:
    """A number of a source that validation samples may decide (``AuditConfig.tune_samples``).

    Args:
        name: in audit.json, and where settings are passed on.
        label: how people write it.
        default: where nothing was tuned.
        values: that are tried.
        make: the source with such a value.
        search: with which attack the values are compared.
    """

    name: str
    label: str
    default: float
    values: tuple[float, ...]
    make: Callable[[float], GradientSource]
    search: Literal["PGD", "SA-PGD"] = "PGD"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """A gradient source as a trial's text names it, after the @.

    Args:
        name: "ASSG" in "PGD-20@ASSG".
        make: the source, of the values of all tunables by their names.
        of_text: the source that a text fixes, "0.45" in "ASSG:0.45"; None for one that takes no value.
        adaptive: whether its backward follows the model's potentials.
        tunable: its own tunable, if it has one.
    """

    name: str
    make: Callable[[Mapping[str, float]], GradientSource]
    of_text: Callable[[str], GradientSource] | None = None
    adaptive: bool = False
    tunable: Tunable | None = None


def a_number(text: str) -> float:
    """A number from a trial's text.

    Raises:
        SpikeproofError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise SpikeproofError(f"{text!r} is no number.") from None
