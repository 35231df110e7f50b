"""How a trial names an attack: what an audit, its batteries and the tests over all attacks must know of it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from spikeproof.attacks.craft import Attacked
from spikeproof.threat import L0, L1, Events, Patch

Kind = Literal["protocol", "fixed", "adaptive", "black-box", "noise"]
Attack = Callable[..., Attacked]  # of (model, images, labels, threat, how), and perhaps a start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """An attack with the settings under which a trial runs it. One attack may have several forms: PGD and PGD-ANY.

    Args:
        name: in a trial's text, such as "PGD" in "PGD-20@RGA".
        attack: the function.
        kind: protocol (that of the papers: fixed surrogate, last iterate), fixed (stronger, through a fixed backward),
            black-box, or noise. Adaptive is no form's own: a trial becomes it by its gradient source.
        number: which number it has where a trial's text gives none; None for one that takes no number.
        counted: the argument of the attack that the number is.
        most: the largest number; None for the largest of all counts.
        settings: further arguments of the attack.
        instead: other attacks, by the numbers that they stand for.
        passes: forwards and backwards of a sample, roughly, by the number (0 where there is none).
        rank: whose accuracy stands for a protocol battery: that of the highest rank.
        norm: where its images lie: in the threat's "ball"; as near as can be in "l2", beside an Linf ball at any
            distance; in a ball of its own ("l1", "l0", "patch", "events"), see ``ball``; or anywhere ("none"), for
            noise and corruptions of other kinds. What a form with "none" promises is the box alone.
        ball: its own threat, which the number is the radius of; None for one that searches the audit's.
        continues: whether it goes on from the best image of the trials before; it then takes a ``start``.
        counts_queries: whether its number is of queries, and it says of each sample how many that took.
        apart: why the battery of everything leaves it out; empty where it does not.

    Example:
        >>> from spikeproof.attacks import ATTACKS
        >>> ATTACKS["TPGD"].made(5).keywords
        {'steps': 5}
    """

    name: str
    attack: Attack
    kind: Kind
    number: int | None = None
    counted: str = "steps"
    most: int | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    instead: Mapping[int, Attack] = dataclasses.field(default_factory=dict)
    passes: Callable[[int], float] = float
    rank: int | None = None
    norm: Literal["ball", "l2", "l1", "l0", "patch", "events", "none"] = "ball"
    ball: type[L1] | type[L0] | type[Patch] | type[Events] | None = None
    continues: bool = False
    counts_queries: bool = False
    apart: str = ""

    def made(self, number: int | None) -> Attack:
        """The attack with its settings, for this number.

        Args:
            number: steps, queries or what else ``counted`` names; None for a form that takes no number.

        Returns:
            A function of (model, images, labels, threat, how), and of a start where the form ``continues``.
        """
        if number is None or self.ball is not None:
            return partial(self.attack, **self.settings)
        return self.instead.get(number) or partial(self.attack, **self.settings, **{self.counted: number})

    def steps(self, number: int | None) -> int:
        """How many steps of a gradient it makes towards a target or at a place; 1 for an attack that has none.

        Args:
            number: as for ``made``. Where it is a radius or a count of queries, it says nothing of steps.

        Example:
            >>> from spikeproof.attacks import ATTACKS
            >>> ATTACKS["PGD"].steps(7), ATTACKS["APGD-L1"].steps(12), ATTACKS["FGSM"].steps(None)
            (7, 100, 1)
        """
        if number is not None and self.ball is None and self.counted == "steps":
            return number
        own = inspect.signature(self.attack).parameters.get("steps")
        return int(self.settings.get("steps") or (1 if own is None else own.default))


def once(number: int) -> float:
    """The cost of one forward, whatever the number: for a form's ``passes``."""
    return 1.0


def nine_times(steps: int) -> float:
    """The cost of so many steps towards each of nine targets: for a form's ``passes``."""
    return 9.0 * steps
