"""Every attack of the registry, with few steps, beside a threat that it takes: what tests over all attacks go through.

A new one is in here as soon as ``spikeproof.attacks.ATTACKS`` has it. What takes binary frames alone is
not: it has a file of its own.
"""

import dataclasses
from functools import partial

from digit_networks import network
from spikeproof.attacks import ATTACKS, Form, norms_of, pgd, transfer
from spikeproof.threat import BALLS, L0, L1, Events, Patch

_FEW = {"steps": 5, "queries": 60, "severity": 3}
# What makes one quicker here than by a trial: fewer targets, fewer samples of an estimate.
_QUICKER = {
    "SPSA": {"samples": 16},
    "APGD-T": {"classes": 3},
    "FAB-T": {"classes": 3},
    "MTPGD": {"classes": 3},
    "LOCAL": {"walk": 25},
    "APGD-L1": {"steps": 5},
    "SPARSE-RS": {"queries": 60},
    "PATCH": {"steps": 5, "places": 2},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """An attack under few steps."""

    form: Form

    def __call__(self, *given):
        number = None if self.form.number is None or self.form.ball else _FEW[self.form.counted]
        return partial(self.form.made(number), **_QUICKER.get(self.form.name, {}))(*given)

    @property
    def near(self):
        """Whether its images stay in the threat's ball; what does not is promised to stay in the box."""
        return self.form.norm != "none"

    @property
    def norm(self):
        return (norms_of(self.form.attack) or ("linf",))[0]

    def threat(self, eps):
        """Of as much room: 64 pixels that may all move by the radius; in balls of other kinds of as many of them."""
        own = {L1: 64 * eps, L0: round(64 * eps), Patch: round(16 * eps)}
        if self.form.ball is not None:
            return self.form.ball(own[self.form.ball])
        return BALLS[self.norm](eps if self.norm == "linf" else 8 * eps)


_TRANSFER = Form(
    name="TRANSFER",
    attack=transfer,
    kind="black-box",
    settings={"substitutes": (network("tiny"),), "attack": partial(pgd, steps=5)},
)
EVERY = {form.name: Case(form) for form in (*ATTACKS.values(), _TRANSFER) if form.ball is not Events}
