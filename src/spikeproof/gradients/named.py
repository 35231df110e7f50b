"""How a trial names a gradient source: how it is made, what of it may be tuned, and whether it adapts."""

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
        name: its key in audit.json and in the values that ``Named.make`` takes.
        label: how people write it, in reports.
        default: the value where nothing was tuned.
        values: the values that are tried.
        make: makes the source with a value.
        search: the attack with which the values are compared.
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
        make: makes the source from the values of all tunables, by their names.
        of_text: makes the source from a text, "0.45" in "ASSG:0.45"; None for a source that takes no value.
        adaptive: whether its backward follows the model's potentials.
        tunable: its own tunable; None if it has none.
    """

    name: str
    make: Callable[[Mapping[str, float]], GradientSource]
    of_text: Callable[[str], GradientSource] | None = None
    adaptive: bool = False
    tunable: Tunable | None = None


def a_number(text: str) -> float:
    """A number from a trial's text, such as "0.45".

    Args:
        text: what follows the colon.

    Raises:
        SpikeproofError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise SpikeproofError(f"{text!r} is no number.") from None
