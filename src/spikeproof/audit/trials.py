"""Trials: one attack with one gradient source each, written as text: ATTACK[-NUMBER][@SOURCE[:VALUE]].

"PGD-20" is 20 steps through the model's own surrogate, "SA-PGD-100@ASSG" adapts, "APGD-CE@HART:0.5" fixes HART's width.
Only :func:`make_trial` reads such a text; all other code asks the trial for its parts.
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
from spikeproof.gradients import BPTT, SOURCES, TUNABLES, GradientSource, Named, Tunable
from spikeproof.threat import BALLS, EVERY_NORM, L2, Norm, OtherNorm, OtherThreat, Threat


class Tuned(dict[str, float]):
    """The settings of gradient sources, by the names of ``TUNABLES``.

    Args:
        chosen: those that validation samples decided; the others have their defaults.

    Example:
        >>> Tuned(half_mass=0.4)
        {'half_mass': 0.4, 'hart_width': 1.0}
    """

    def __init__(self, **chosen: float) -> None:
        defaults = {name: tunable.default for name, tunable in TUNABLES.items()}
        super().__init__({name: chosen.get(name, default) for name, default in defaults.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One attack with one gradient source.

    Attributes:
        form: the attack as trials run it.
        number: its steps or queries; None where it has none.
        named: the gradient source as trials name it.
        value: the value of the source that the text fixes, as it is written; None where tuning may choose it.
        source: the gradient source itself.
        ball: the norm of the audit's threat.
        substitutes: the networks that it crafts on; None for the audited one.
        added: whether the audit added it, because something hides the gradient and this trial goes round it.
        stands_for: in an ANN, the trials of the battery whose attack it runs through the network's own gradient.
    """

    form: Form
    number: int | None = None
    named: Named
    value: str | None = None
    source: GradientSource
    ball: Norm = "linf"
    substitutes: tuple[nn.Module, ...] | None = None
    added: bool = False
    stands_for: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The text that makes it, in full."""
        if self._own:
            return self.attack_text
        return f"{self.attack_text}@{self.named.name}" + ("" if self.value is None else f":{self.value}")

    @property
    def attack_text(self) -> str:
        """The attack with its number, such as "PGD-20"."""
        return self.attack_name if self.number is None else f"{self.attack_name}-{self.number}"

    @property
    def attack_name(self) -> str:
        """The attack without its number, such as "PGD" or "TRANSFER:PGD"."""
        return self.form.name if self.substitutes is None else f"TRANSFER:{self.form.name}"

    @property
    def attack(self) -> Attack:
        """The function that is run, with its settings."""
        made = self.form.made(self.number)
        if self.substitutes is None:
            return made
        return partial(attacks.transfer, substitutes=self.substitutes, attack=made)

    @property
    def norm(self) -> Norm | OtherNorm | Literal["none"]:
        """The norm in which its images are near: the ball's norm for attacks that stay in the ball.

        "l2" beside an Linf ball is for an attack at any Euclidean distance, like the papers' CW column. An attack with
        a ball of its own has the norm of that. "none" is for noise and corruptions.
        """
        return self.ball if self.form.norm == "ball" else self.form.norm

    @property
    def bounded(self) -> bool:
        """Whether it stays in the ball. Only such trials are a part of the worst case."""
        return self.norm == self.ball

    @property
    def kind(self) -> Kind:
        """What kind of trial it is.

        "protocol" is that of the papers (fixed surrogate, last iterate), "fixed" is stronger but also through a fixed
        backward, the backward of "adaptive" follows the model's potentials; "black-box" and "noise" take no gradient of
        the model.
        """
        if self.substitutes is not None:
            return "black-box"
        # In an L2 ball, CW's image is the nearest that it finds, not its last iterate.
        kind: Kind = "fixed" if self.bounded and self.form.norm == "l2" else self.form.kind
        return "adaptive" if self.bounded and kind in ("protocol", "fixed") and self.named.adaptive else kind

    @property
    def rank(self) -> tuple[int, int] | None:
        """The trial with the highest rank gives the protocol accuracy; None for a trial that cannot."""
        if self.form.rank is None or not self._own or self.substitutes is not None:
            return None
        return self.form.rank, self.number or 0

    @property
    def cost(self) -> float:
        """About how many forwards with backward it takes for a sample."""
        return self.form.passes(self.number or 0) * (1 if self.substitutes is None else len(self.substitutes))

    @property
    def continues(self) -> bool:
        """Whether it takes a ``start``: the image of least margin that the trials before it found."""
        return self.form.continues and self.substitutes is None

    @property
    def counts_queries(self) -> bool:
        """Whether its number is of queries, and it says for each sample how many it took."""
        return self.form.counts_queries and self.substitutes is None

    @property
    def queries(self) -> int:
        """How many it may spend on a sample; a gradient counts as three."""
        return self.number or 0 if self.counts_queries else math.ceil(3 * self.cost)

    @property
    def tunables(self) -> list[Tunable]:
        """The settings of its source that validation samples may decide; none where its text fixes the value."""

        def at(tunable: Tunable, index: int) -> GradientSource:
            return self.tuned(Tuned(**{tunable.name: tunable.values[index]})).source

        return [tunable for tunable in TUNABLES.values() if at(tunable, 0) != at(tunable, -1)]

    def threat(self, eps: float, pixels: int) -> Threat | OtherThreat:
        """The threat that it is run under.

        Args:
            eps: the audit's radius.
            pixels: how many values an image has. An attack at any Euclidean distance gets the radius sqrt(pixels).
        """
        if self.form.ball is not None:
            return self.form.ball(self.number or 0)
        return L2(pixels**0.5) if self.norm == "l2" and not self.bounded else BALLS[self.ball](eps)

    def tuned(self, values: Tuned) -> Trial:
        """The same trial with these settings of its source; itself where its text fixes the value.

        Args:
            values: from tuning.

        Example:
            >>> make_trial("PGD-7@HART").tuned(Tuned(hart_width=2.0)).source
            HART(width=2.0)
        """
        return self if self.value is not None else dataclasses.replace(self, source=self.named.make(values))

    def with_number(self, number: int) -> Trial:
        """The same trial with another number; itself where it takes none.

        Args:
            number: steps or queries, from 1 to what the attack allows.

        Raises:
            SpikeproofError: a number out of that range.

        Example:
            >>> make_trial("SA-PGD-100@ASSG:0.4").with_number(7).name
            'SA-PGD-7@ASSG:0.4'
        """
        if self.number is None:
            return self
        other = dataclasses.replace(self, number=number)
        _check_number(other.name, self.form, number)
        return other

    def crafted_on(self, substitutes: Sequence[nn.Module]) -> Trial:
        """The black-box trial that crafts on these networks, and takes verdicts from the audited one.

        Its source should have its default settings, because tuning is done on the audited network.

        Args:
            substitutes: any number of networks that take the audited one's images.

        Raises:
            SpikeproofError: a trial that leaves the ball, or noise.

        Example:
            >>> make_trial("PGD-7@RGA").crafted_on([nn.Identity()]).name
            'TRANSFER:PGD-7@RGA'
        """
        if not self.bounded or self.kind == "noise":
            raise SpikeproofError(
                f"{self.name!r} cannot be transferred: it does not search the threat's ball; give an attack such as "
                "'PGD-20'."
            )
        return dataclasses.replace(self, substitutes=tuple(substitutes))

    @property
    def _own(self) -> bool:
        """Whether its backward is the network's own."""
        return self.source == BPTT()


def make_trial(text: str, ball: Norm = "linf") -> Trial:
    """Read a trial's text. Where it gives no number or value, the defaults hold.

    Args:
        text: ATTACK[-NUMBER][@SOURCE[:VALUE]], such as "PGD-20" or "APGD-CE-100@HART:0.5".
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
    named, value, source = _source_of(by or "BPTT")
    norms = attacks.norms_of(form.made(number))
    if norms and ball not in norms and form.norm != "l2" and form.ball is None:
        raise SpikeproofError(
            f"{text!r} is no trial of an {EVERY_NORM[ball]} threat: {name} searches {EVERY_NORM[norms[0]]} balls only; "
            "take PGD, PGD-ANY or APGD."
        )
    return Trial(form=form, number=number, named=named, value=value, source=source, ball=ball)


def _number_of(text: str, form: Form, digits: str | None) -> int | None:
    """The number that a trial's text gives, else the attack's own."""
    if digits is None:
        return form.number
    if form.number is None:
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} takes no number.")
    # Python refuses to read numbers of thousands of digits.
    number = int(digits) if len(digits) <= len(str(_most(form))) else _most(form) + 1
    _check_number(text, form, number)
    return number


def _check_number(text: str, form: Form, number: int) -> None:
    if number < 1:
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} needs a number >= 1.")
    if number > _most(form):
        raise SpikeproofError(f"{text!r:.80} is no trial: {form.name} needs a number of at most {_most(form)}.")


def _most(form: Form) -> int:
    return MOST_STEPS if form.most is None else form.most


def _source_of(text: str) -> tuple[Named, str | None, GradientSource]:
    """Read SOURCE[:VALUE]: the source as trials name it, the value as it is written or None, and the source itself.

    "BPTT:sigmoid(4)" is BPTT with another surrogate; "ASSG:0.45" and "HART:0.5" fix what is otherwise tuned.
    """
    name, colon, value = text.partition(":")
    if name not in SOURCES:
        raise SpikeproofError(f"{text!r} is no gradient source; give one of {', '.join(SOURCES)}.")
    named = SOURCES[name]
    if not colon:
        return named, None, named.make(Tuned())
    if named.of_text is None:
        raise SpikeproofError(f"{text!r} is no gradient source: {name} takes no value.")
    try:
        return named, value, named.of_text(value)
    except SpikeproofError as error:
        raise SpikeproofError(f"{text!r} is no gradient source: {error}") from None
