"""Batteries: named lists of trials. Which of them is whose protocol, and what ``reliable`` is made of and why."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from spikeproof.attacks import ATTACKS, norms_of
from spikeproof.attacks.corruptions import FORMS as _CORRUPTIONS
from spikeproof.audit.trials import make_trial
from spikeproof.threat import Norm

BatteryName = Literal[
    "quick",
    "reliable",
    "thorough",
    "paper-mpd-sgr",
    "paper-tgo",
    "autoattack",
    "autoattack-rand",
    "everything",
    "beyond-linf",
]

# The 19 backwards of Ozdenizci and Legenstein (2024).
NINETEEN_SOURCES = (
    *(f"BPTT:triangle({width})" for width in (1, 2, 3, 0.5, 0.25)),
    *(f"BPTT:exp({scale},{decay})" for scale in (0.3, 1) for decay in (0.5, 1, 2)),
    *(f"BPTT:rectangular({width})" for width in (0.25, 0.5, 1, 2, 4)),
    "STE",
    "BPTR",
    "RELU",
)


# What an audit adds where something hides the gradient (audit/masks.py).
AROUND: dict[Norm, tuple[str, ...]] = {
    "linf": ("SA-PGD-100@AROUND", "SA-PGD-MARGIN-100@AROUND"),
    "l2": ("APGD-CE-100@AROUND", "APGD-DLR-100@AROUND"),
}
CORRUPTED = tuple(form.name for form in _CORRUPTIONS)
AUTOATTACK = ("PGD-20", "APGD-CE-100", "APGD-T-100", "FAB-T-100", "SQUARE-5000")
AUTOATTACK_RAND = ("PGD-20", "APGD-CE-100", "APGD-DLR-100")


@dataclasses.dataclass(frozen=True)
class Battery:
    """Trials in the order in which they are run.

    Attributes:
        trials: for an Linf threat.
        l2: the same for an L2 threat; None where there is no such protocol.
        per_member: every trial attacks every sample, so that each has an accuracy of its own; otherwise all but the
            protocol trials get only the samples that the ones before left.
    """

    trials: tuple[str, ...]
    l2: tuple[str, ...] | None = None
    per_member: bool = False


def _and_the_others(listed: tuple[str, ...], ball: Norm) -> tuple[str, ...]:
    """These trials, and by its default settings every other attack that can search this ball."""
    named = {make_trial(text, ball).attack_name for text in listed}
    others = [
        name
        for name, form in ATTACKS.items()
        if name not in named
        and not form.apart
        and (form.norm != "l2" or ball == "l2")
        and (form.ball is not None or ball in (norms_of(form.attack) or (ball,)))
    ]
    return (*listed, *others)


_BEYOND = (
    *("FGSM", "PGD-20", "APGD-L1-12@ASSG", "SPARSE-RS-10", "PATCH-5@ASSG"),
    *(f"{name}-{severity}" for name in CORRUPTED for severity in range(1, 6)),
)
BATTERIES: dict[str, Battery] = {
    "quick": Battery(
        ("FGSM", "PGD-20", "SA-PGD-20@ASSG", "APGD-CE-20@PDSG", "LOCAL-200"),
        l2=("FGSM", "PGD-20", "APGD-CE-20@ASSG", "APGD-DLR-20@ASSG", "LOCAL-200"),
    ),
    # Chosen on validation images, by what each adds to those before (docs/log.md). After the two SA-PGDs these add
    # nothing or next to nothing: APGD-CE, -DLR and -T on ASSG, APGD on HART, PDSG, MIXED, RGA, STE, a triangle of width
    # 3, SA-PGD restarted, SQUARE-1000 from scratch. The local search from the best image breaks a third of what is
    # left (vanilla 17 of 38, AT 14 of 50).
    "reliable": Battery(
        ("FGSM", "PGD-20", "SA-PGD-100@ASSG", "SA-PGD-MARGIN-100@ASSG", "LOCAL-9600"),
        l2=("FGSM", "PGD-20", "APGD-CE-100@ASSG", "APGD-DLR-100@ASSG", "APGD-T-100@ASSG", "LOCAL-9600"),
    ),
    # Ten times the queries, targeted attacks, and attacks that add next to nothing: it shows what `reliable` misses.
    "thorough": Battery(
        (
            *("FGSM", "PGD-20", "SA-PGD-100@ASSG", "SA-PGD-MARGIN-100@ASSG", "APGD-DLR-100@ASSG", "APGD-CE-50@HART"),
            *("APGD-T-100@ASSG", "LOCAL-96000", "SA-PGD-ON-100@ASSG"),
        ),
        l2=(
            *("FGSM", "PGD-20", "APGD-CE-100@ASSG", "APGD-DLR-100@ASSG", "APGD-T-100@ASSG", "APGD-CE-50@HART"),
            *("LOCAL-96000", "APGD-ON-100@ASSG"),
        ),
    ),
    # MPD-SGR's Table 2; CW at the settings of the same group's code (c = 0.5, 10 steps).
    "paper-mpd-sgr": Battery(
        ("FGSM", "PGD-7", "BIM-7", "CW-10", "FGSM@RGA", "PGD-7@RGA", "BIM-7@RGA", "CW-10@RGA"), per_member=True
    ),
    "paper-tgo": Battery(
        ("FGSM", "R+FGSM", "PGD-10", "PGD-20", "PGD-40", "MTPGD-7", "MTPGD-40", "APGD-CE-7", "APGD-CE-40"),
        per_member=True,
    ),
    "autoattack": Battery(AUTOATTACK, l2=AUTOATTACK),
    # With eot_iter=20 in the config, as AutoAttack's own.
    "autoattack-rand": Battery(AUTOATTACK_RAND, l2=AUTOATTACK_RAND),
    "everything": Battery(
        _and_the_others(
            (
                *("FGSM", "FFGSM", "R+FGSM", "MI-FGSM-10", "RFGSM-10", "BIM-20", "PGD-7", "PGD-20", "PGD-40"),
                *("SA-PGD-100@ASSG", "SA-PGD-MARGIN-100@ASSG", "APGD-CE-100@ASSG", "APGD-DLR-100@ASSG"),
                *(f"{attack}@{source}" for source in ("HART", "PDSG", "MIXED", "RGA") for attack in ("APGD-CE-100",)),
                *(f"PGD-ANY-20@{source}" for source in NINETEEN_SOURCES),
                *("TPGD-10", "MTPGD-20", "APGD-CE-100", "APGD-DLR-100", "APGD-T-100@ASSG", "FAB-T-100@ASSG"),
                *("UNIFORM", "SQUARE-5000", "SPSA-20", "LOCAL-9600", "SA-PGD-ON-50@ASSG", "APGD-ON-50@ASSG"),
                *("APGD-L1-12", "SPARSE-RS-10", "PATCH-5"),
                *("GAUSSIAN", *(f"{name}-3" for name in CORRUPTED)),
            ),
            "linf",
        ),
        l2=_and_the_others(
            (
                *("FGSM", "FFGSM", "MI-FGSM-10", "BIM-20", "PGD-7", "PGD-20", "PGD-40"),
                *(f"{attack}@ASSG" for attack in ("PGD-ANY-100", "APGD-CE-100", "APGD-DLR-100", "DDN-100", "CW-100")),
                *(f"APGD-CE-100@{source}" for source in ("HART", "PDSG", "MIXED", "RGA")),
                *(f"PGD-ANY-20@{source}" for source in NINETEEN_SOURCES),
                *("TPGD-10", "MTPGD-20", "APGD-CE-100", "APGD-DLR-100", "APGD-T-100@ASSG", "FAB-T-100@ASSG"),
                *("UNIFORM", "SQUARE-5000", "LOCAL-9600", "APGD-ON-50@ASSG"),
                *("APGD-L1-12", "SPARSE-RS-10", "PATCH-5"),
                *(f"{name}-3" for name in CORRUPTED),
            ),
            "l2",
        ),
    ),
    # Threats that no Linf ball holds, each with an accuracy of its own; none is a part of the worst case.
    "beyond-linf": Battery(_BEYOND, l2=_BEYOND, per_member=True),
}
assert set(BATTERIES) == set(get_args(BatteryName))
