"""Trials: one attack with one gradient source each, written as text: ATTACK[-NUMBER][@SOURCE[:VALUE]].

"PGD-20" is 20 steps through the model's own surrogate, "SA-PGD-100@ASSG" adapts, "APGD-CE@HART:0.5" fixes HART's width.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from spikeproof import attacks
from spikeproof.attacks import Attacked, Crafting
from spikeproof.checked import MOST_STEPS
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Around, Assg, Bptr, Bptt, GradientSource, Hart, Mixed, Pdsg, ReluTransfer, Rga
from spikeproof.spiking import Exponential, StraightThrough, Surrogate, parse_surrogate
from spikeproof.threat import BALLS, L2, NORMS, Norm, Threat

Kind = Literal["nominal", "fixed", "adaptive", "black-box", "noise"]
Attack = Callable[..., Attacked]  # of (model, images, labels, threat, how), and perhaps a start

# The papers' PGD-7 and BIM-7 step by 2.55/255 at 8/255; every other count of theirs is near 2.5 radius / steps.
_PAPERS_SHARE_AT_SEVEN = 2.55 / 8


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What attacks take from validation samples; the defaults where there were none (see ``audit/tuning.py``)."""

    half_mass: float = Assg().half_mass
    hart_width: float = Hart().width


@dataclasses.dataclass(frozen=True)
class Trial:
    """One attack with one gradient source.

    Attributes:
        name: the text it was made from, in full.
        kind: nominal (the papers' protocol: fixed surrogate, last iterate), fixed (stronger, through a fixed
            backward), adaptive (its backward follows the model's potentials), black-box, or noise.
        attack_name, number: the attack and its steps or queries; None where it has none.
        cost: forwards and backwards a sample, roughly.
        rank: which nominal trial's accuracy is *the* nominal accuracy: the highest of a battery.
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

    def threat(self, radius: float, pixels: int) -> Threat:
        """The threat it is run under, for an audit at this radius of images with so many values."""
        return L2(pixels**0.5) if self.norm == "l2" and not self.bounded else BALLS[self.ball](radius)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An attack of the catalogue: how it is made for a number of steps, which is the default, and what it is."""

    make: Callable[[int], Attack]
    number: int | None
    kind: Kind
    passes: Callable[[int], float] = float
    rank: int | None = None
    norm: Literal["ball", "l2", "none"] = "ball"  # where its images lie; "l2": as near as can be, in L2
    most: int | None = None
    continues: bool = False
    counts_queries: bool = False


@attacks.attack("PGD-7")
def _seven_steps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    how: Crafting | None = None,
    *,
    search: Callable[..., Attacked],
) -> Attacked:
    """PGD-7 or BIM-7 by the papers' step, to the last iterate."""
    size = _PAPERS_SHARE_AT_SEVEN * threat.radius
    return search(model, images, labels, threat, how, steps=7, step_size=size, keep="last")


def _iterated(search: Callable[..., Attacked], rank: int) -> _Entry:
    def make(steps: int) -> Attack:
        return partial(_seven_steps, search=search) if steps == 7 else partial(search, steps=steps, keep="last")

    return _Entry(make, 20, "nominal", rank=rank)


def _plain(attack: Callable[..., Attacked], kind: Kind, cost: float, rank: int | None = None) -> _Entry:
    return _Entry(lambda _: attack, None, kind, lambda _: cost, rank)


def _steps(attack: Callable[..., Attacked], number: int, **settings: Any) -> _Entry:
    return _Entry(lambda steps: partial(attack, steps=steps, **settings), number, "fixed")


def _going_on(attack: Callable[..., Attacked], number: int, **settings: Any) -> _Entry:
    """From the best image of the trials before."""
    return _Entry(lambda steps: partial(attack, steps=steps, **settings), number, "fixed", continues=True)


def _targets(attack: Callable[..., Attacked], number: int) -> _Entry:
    """Nine targets, each with so many steps."""
    return _Entry(lambda steps: partial(attack, steps=steps), number, "fixed", lambda steps: 9.0 * steps)


def _corrupted(kind: str) -> _Entry:
    """The number is the severity."""
    return _Entry(
        lambda severity: partial(attacks.corruption, kind=kind, severity=severity),
        3,
        "noise",
        lambda _: 1,
        norm="none",
        most=5,
    )


_ATTACKS: dict[str, _Entry] = {
    "FGSM": _plain(attacks.fgsm, "nominal", 1, rank=0),
    "FFGSM": _plain(attacks.ffgsm, "nominal", 1, rank=1),
    "R+FGSM": _plain(attacks.rfgsm, "nominal", 1, rank=2),
    "MI-FGSM": _Entry(lambda steps: partial(attacks.mi_fgsm, steps=steps, keep="last"), 10, "nominal", rank=3),
    "RFGSM": _Entry(lambda steps: partial(attacks.iterated_rfgsm, steps=steps, keep="last"), 10, "nominal", rank=4),
    "BIM": _iterated(attacks.bim, rank=5),
    "PGD": _iterated(attacks.pgd, rank=6),
    "PGD-ANY": _steps(attacks.pgd, 100),
    "TPGD": _steps(attacks.tpgd, 10),
    "SA-PGD": _steps(attacks.sa_pgd, 100),
    "SA-PGD-MARGIN": _steps(attacks.sa_pgd, 100, objective="margin"),
    "SA-PGD-ON": _going_on(attacks.sa_pgd, 50, objective="margin"),
    "APGD-ON": _going_on(attacks.apgd, 50, objective="margin"),
    "APGD-CE": _steps(attacks.apgd, 100, objective="ce"),
    "APGD-DLR": _steps(attacks.apgd, 100, objective="dlr"),
    "APGD-T": _targets(attacks.apgd_targeted, 100),
    "FAB-T": _targets(attacks.fab_targeted, 100),
    "MTPGD": _targets(attacks.mtpgd, 20),
    "SQUARE": _Entry(lambda queries: partial(attacks.square, queries=queries), 5000, "black-box", lambda q: q / 3),
    "LOCAL": _Entry(
        lambda queries: partial(attacks.local_search, queries=queries),
        9600,
        "black-box",
        lambda q: min(q, 300 + q / 10) / 3,  # most samples are given up early
        continues=True,
        counts_queries=True,
    ),
    # The paper's delta of 0.01 moves too few spikes to be told from none.
    "SPSA": _Entry(lambda n: partial(attacks.spsa, steps=n, delta=0.03), 20, "black-box", lambda n: 128.0 * n / 3),
    "CW": _Entry(
        lambda steps: partial(attacks.cw_l2, steps=steps, searches=1, initial_c=0.5), 10, "nominal", norm="l2"
    ),
    # The papers' own, for their column: weak by its code, and no measure of robustness.
    "CW-FEEL": _Entry(lambda steps: partial(attacks.cw_feel, steps=steps), 10, "nominal", norm="l2"),
    "GAUSSIAN-NOISE": _corrupted("gaussian_noise"),
    "GAUSSIAN-BLUR": _corrupted("gaussian_blur"),
    "CONTRAST": _corrupted("contrast"),
    "BRIGHTNESS": _corrupted("brightness"),
    "DDN": _Entry(lambda steps: partial(attacks.ddn, steps=steps), 100, "nominal", norm="l2"),
    # Its standard deviation is the audit's radius, as in the papers' tables.
    "GAUSSIAN": _Entry(lambda _: partial(attacks.gaussian_noise), None, "noise", lambda _: 1, norm="none"),
    "UNIFORM": _plain(attacks.uniform_noise, "noise", 1),
}

_SOURCES: dict[str, Callable[[Tuned], GradientSource]] = {
    "BPTT": lambda tuned: Bptt(),
    "STE": lambda tuned: Bptt(StraightThrough()),
    "BPTR": lambda tuned: Bptr(),
    "RGA": lambda tuned: Rga(),
    "HART": lambda tuned: Hart(width=tuned.hart_width),
    "PDSG": lambda tuned: Pdsg(),
    "ASSG": lambda tuned: Assg(half_mass=tuned.half_mass),
    "RELU": lambda tuned: ReluTransfer(),
    "AROUND": lambda tuned: Around(Assg(half_mass=tuned.half_mass)),
    "MIXED": lambda tuned: Mixed((Bptt(), Hart(width=tuned.hart_width))),
}
_ADAPTIVE = (Around, Assg, Hart, Pdsg, Mixed)


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
        ('SA-PGD-100@ASSG', 'nominal')
    """
    what, at, by = text.partition("@")
    if at and not by:
        raise SpikeproofError(f"{text!r} is no trial: name a gradient source after the @, as in 'PGD-20@RGA'.")
    match = re.fullmatch(r"(.+?)(?:-([0-9]+))?", what)
    name = match[1] if match else what
    if name not in _ATTACKS:
        raise SpikeproofError(f"{text!r} is no trial: the attacks are {', '.join(_ATTACKS)}, as in 'PGD-20@RGA'.")
    entry = _ATTACKS[name]
    number = _number_of(text, name, entry, match[2] if match else None)
    source, source_name = parse_source(by or "BPTT", tuned or Tuned())
    made, norm = entry.make(number or 0), ball if entry.norm == "ball" else entry.norm
    takes = attacks.norms_of(made)
    if takes and ball not in takes and not (entry.norm == "l2"):
        raise SpikeproofError(
            f"{text!r} is no trial of an {NORMS[ball]} threat: {name} searches {NORMS[takes[0]]} balls only; take PGD, "
            "PGD-ANY or APGD."
        )
    kind = entry.kind
    if norm == ball and entry.norm == "l2":
        kind = "fixed"  # the nearest image that it finds, not a last iterate
    if norm == ball and kind in ("nominal", "fixed") and isinstance(source, _ADAPTIVE):
        kind = "adaptive"
    own = source == Bptt()
    return Trial(
        name=(name if number is None else f"{name}-{number}") + ("" if own else f"@{source_name}"),
        kind=kind,
        attack_name=name,
        number=number,
        attack=made,
        source=source,
        cost=entry.passes(number or 0),
        rank=None if entry.rank is None or not own else (entry.rank, number or 0),
        ball=ball,
        norm=norm,
        continues=entry.continues,
        counts_queries=entry.counts_queries,
    )


def _number_of(text: str, name: str, entry: _Entry, asked: str | None) -> int | None:
    """The number that a trial's text asks for, else the attack's own."""
    if asked is None:
        return entry.number
    if entry.number is None:
        raise SpikeproofError(f"{text!r:.80} is no trial: {name} takes no number.")
    most = MOST_STEPS if entry.most is None else entry.most
    number = int(asked) if len(asked) <= len(str(most)) else most + 1
    if number < 1:
        raise SpikeproofError(f"{text!r:.80} is no trial: {name} needs a number >= 1.")
    if number > most:
        raise SpikeproofError(f"{text!r:.80} is no trial: {name} needs a number of at most {most}.")
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
    if name not in _SOURCES:
        raise SpikeproofError(f"{text!r} is no gradient source; give one of {', '.join(_SOURCES)}.")
    if not colon:
        return _SOURCES[name](tuned), text
    try:
        makers: dict[str, Callable[[], GradientSource]] = {
            "BPTT": lambda: Bptt(_surrogate(value)),
            "ASSG": lambda: Assg(half_mass=_number(value)),
            "HART": lambda: Hart(width=_number(value)),
        }
        made = makers[name]()
    except KeyError:
        raise SpikeproofError(f"{text!r} is no gradient source: {name} takes no value.") from None
    except SpikeproofError as error:
        raise SpikeproofError(f"{text!r} is no gradient source: {error}") from None
    return made, text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpikeproofError(f"{text!r} is no number.") from None


def _surrogate(text: str) -> Surrogate:
    """A surrogate that a recipe may name, or "exp(A,b)": A e^(-b |v|)."""
    match = re.fullmatch(r"exp\(([^,()]+),([^,()]+)\)", text)
    return Exponential(_number(match[1]), _number(match[2])) if match else parse_surrogate(text)
