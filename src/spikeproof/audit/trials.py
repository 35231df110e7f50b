"""Trials: one attack with one gradient source each, written as text: ATTACK[-NUMBER][@SOURCE[:VALUE]].

"PGD-20" is 20 steps through the model's own surrogate, "SA-PGD-100@ASSG" adapts, "APGD-CE@HART:0.5" fixes HART's width.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn

from spikeproof import attacks
from spikeproof.attacks import ATTACKS, Attack, Form, Kind
from spikeproof.checked import MOST_STEPS
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTT, SOURCES, TUNABLES, GradientSource
from spikeproof.threat import BALLS, L2, NORMS, Norm, Threat


class Tuned(dict[str, float]):
    """What sources take from validation samples, by the tunables' names; the defaults where there were none.

    Example:
        >>> Tuned(half_mass=0.4)
        {'half_mass': 0.4, 'hart_width': 1.0}
    """

    def __init__(self, **chosen: float) -> None:
        defaults = {name: tunable.default for name, tunable in TUNABLES.items()}
        super().__init__({name: chosen.get(name, default) for name, default in defaults.items()})


@dataclasses.dataclass(frozen=True)
class Trial:
    """One attack with one gradient source.

    Attributes:
        name: the text it was made from, in full.
        kind: protocol (that of the papers: fixed surrogate, last iterate), fixed (stronger, through a fixed
            backward), adaptive (its backward follows the model's potentials), black-box, or noise.
        attack_name, number: the attack and its steps or queries; None where it has none.
        cost: forwards and backwards a sample, roughly.
        rank: which protocol trial's accuracy is *the* protocol accuracy: the highest of a battery.
        ball: the norm of the audit's threat.
        norm: in which its images are near: the ball's for what stays in it; "l2" beside an Linf ball for an attack at
            any Euclidean distance, like the papers' CW column; "none" for noise and corruptions of other kinds. Only
            what stays in the ball is a part of the worst case.
        continues: whether it begins at the image of least margin that the trials before it have found; the attack
            then takes a ``start``.
        counts_queries: whether its number is of queries, and it says of each sample how many that took.
        added: whether nobody asked for it: something hides the gradient, and it goes round.
    """

    name: str
    kind: Kind
    attack_name: str
    number: int | None
    attack: Attack
    source: GradientSource
    cost: float
    rank: tuple[int, int] | None = None
    ball: Norm = "linf"
    norm: Norm | Literal["none"] = "linf"
    continues: bool = False
    counts_queries: bool = False
    added: bool = False

    @property
    def bounded(self) -> bool:
        return self.norm == self.ball

    @property
    def queries(self) -> int:
        """How many it may spend on a sample; a gradient counts as three."""
        return self.number or 0 if self.counts_queries else math.ceil(3 * self.cost)

    def threat(self, eps: float, pixels: int) -> Threat:
        """The threat it is run under, for an audit at this radius of images with so many values."""
        return L2(pixels**0.5) if self.norm == "l2" and not self.bounded else BALLS[self.ball](eps)


def make_trial(text: str, tuned: Tuned | None = None, ball: Norm = "linf") -> Trial:
    """The trial that a text describes.

    Args:
        tuned: the settings of ASSG and HART where the text gives none.
        ball: the norm of the threat.

    Raises:
        SpikeproofError: an unknown attack or source, a number that does not fit, or an attack that cannot search such
            a ball.

    Example:
        >>> make_trial("SA-PGD@ASSG").name, make_trial("PGD-7").kind
        ('SA-PGD-100@ASSG', 'protocol')
    """
    what, at, by = text.partition("@")
    if at and not by:
        raise SpikeproofError(f"{text!r} is no trial: name a gradient source after the @, as in 'PGD-20@RGA'.")
    match = re.fullmatch(r"(.+?)(?:-([0-9]+))?", what)
    name = match[1] if match else what
    if name not in ATTACKS:
        raise SpikeproofError(f"{text!r} is no trial: the attacks are {', '.join(ATTACKS)}, as in 'PGD-20@RGA'.")
    form = ATTACKS[name]
    number = _number_of(text, form, match[2] if match else None)
    source, source_name = parse_source(by or "BPTT", tuned or Tuned())
    made, norm = form.made(number), ball if form.norm == "ball" else form.norm
    takes = attacks.norms_of(made)
    if takes and ball not in takes and not (form.norm == "l2"):
        raise SpikeproofError(
            f"{text!r} is no trial of an {NORMS[ball]} threat: {name} searches {NORMS[takes[0]]} balls only; take PGD, "
            "PGD-ANY or APGD."
        )
    kind = form.kind
    if norm == ball and form.norm == "l2":
        kind = "fixed"  # the nearest image that it finds, not a last iterate
    if norm == ball and kind in ("protocol", "fixed") and SOURCES[source_name.partition(":")[0]].adaptive:
        kind = "adaptive"
    own = source == BPTT()
    return Trial(
        name=(name if number is None else f"{name}-{number}") + ("" if own else f"@{source_name}"),
        kind=kind,
        attack_name=name,
        number=number,
        attack=made,
        source=source,
        cost=form.passes(number or 0),
        rank=None if form.rank is None or not own else (form.rank, number or 0),
        ball=ball,
        norm=norm,
        continues=form.continues,
        counts_queries=form.counts_queries,
    )


def _number_of(text: str, form: Form, asked: str | None) -> int | None:
    """The number that a trial's text asks for, else the attack's own."""
    if asked is None:
        return form.number
    if form.number is None:
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} takes no number.")
    most = MOST_STEPS if form.most is None else form.most
    number = int(asked) if len(asked) <= len(str(most)) else most + 1
    if number < 1:
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} needs a number >= 1.")
    if number > most:
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} needs a number of at most {most}.")
    return number


def make_transfer(text: str, substitutes: Sequence[nn.Module], ball: Norm = "linf") -> Trial:
    """The black-box trial that crafts on substitutes as a text describes, and asks the audited model for verdicts.

    Sources have their default settings where the text gives none: what was tuned was tuned on the audited model.

    Raises:
        SpikeproofError: no trial, one that leaves the ball, or mere noise.

    Example:
        >>> make_transfer("PGD-7@RGA", [nn.Identity()]).name
        'TRANSFER:PGD-7@RGA'
    """
    crafted = make_trial(text, ball=ball)
    if not crafted.bounded or crafted.kind == "noise":
        raise SpikeproofError(
            f"{text!r} cannot be transferred: it does not search the threat's ball; give an attack such as 'PGD-20'."
        )
    return dataclasses.replace(
        crafted,
        name=f"TRANSFER:{crafted.name}",
        kind="black-box",
        attack_name=f"TRANSFER:{crafted.attack_name}",
        attack=partial(attacks.transfer, substitutes=tuple(substitutes), attack=crafted.attack),
        cost=crafted.cost * len(substitutes),
        rank=None,
        continues=False,
        counts_queries=False,
    )


def parse_source(text: str, tuned: Tuned) -> tuple[GradientSource, str]:
    """A gradient source from text, and how a trial's name calls it.

    "BPTT:sigmoid(4)" is BPTT with another surrogate, "ASSG:0.45" and "HART:0.5" fix what is otherwise tuned.

    Raises:
        SpikeproofError: an unknown source, or a value that it cannot take.

    Example:
        >>> parse_source("HART:0.5", Tuned())[0].name
        'HART width=0.5'
    """
    name, colon, value = text.partition(":")
    if name not in SOURCES:
        raise SpikeproofError(f"{text!r} is no gradient source; give one of {', '.join(SOURCES)}.")
    named = SOURCES[name]
    if not colon:
        return named.make(tuned), text
    if named.of_text is None:
        raise SpikeproofError(f"{text!r} is no gradient source: {name} takes no value.")
    try:
        return named.of_text(value), text
    except SpikeproofError as error:
        raise SpikeproofError(f"{text!r} is no gradient source: {error}") from None
