"""A reason not to believe a number, as a record that an audit writes and a report reads."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Doubt:
    """One reason not to believe a number.

    Attributes:
        code: what it is about, the same in all audits; that of a raised flag is the flag's name.
        text: a sentence with ``{}`` for each number.
        numbers: what stands for each ``{}``, in order and as it is written; names may be among them.

    Example:
        >>> str(Doubt("gap", "The worst case is {} points below the protocol accuracy.", ("8.6",)))
        'The worst case is 8.6 points below the protocol accuracy.'
    """

    code: str
    text: str
    numbers: tuple[str, ...] = ()

    def __str__(self) -> str:
        first, *rest = self.text.split("{}", len(self.numbers))
        return first + "".join(number + piece for number, piece in zip(self.numbers, rest, strict=False))
