"""The battery: which attacks an audit runs, and which of them are the papers' own protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor, nn

from spikeproof.attacks import Attacked, Crafting, Precision, bim, fgsm, pgd, rfgsm, sa_pgd
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Assg, Bptt, GradientSource
from spikeproof.threat import Linf, OptionalRadius, Radius, parse_radius

TrialName = Literal["FGSM", "R+FGSM", "PGD", "BIM", "ASSG+SA-PGD"]
Split = Literal["test", "validation"]
Attack = Callable[[nn.Module, Tensor, Tensor, Linf, Crafting], Attacked]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What an audit does.

    Args:
        radius: of the Linf threat; a number in [0, 1] or text like "8/255".
        samples: how many images of the split, from its first; None for all.
        split: "test", or "validation" while choosing hyper-parameters.
        trials: the attacks of the battery.
        pgd_steps: of PGD and BIM, the papers' protocol (fixed surrogate, last iterate).
        pgd_step_size: of PGD and BIM; None for 2.5 radius / pgd_steps.
        sa_pgd_steps: of the adaptive attack.
        noise: whether the sites' noise (NLIF) stays on at inference.
        draws: forwards averaged in each gradient and verdict; more than 1 only makes sense with noise.
        precision: of crafting; verdicts are float32 always.
        sweep: further radii at which PGD and the adaptive attack are run, for the accuracy-against-radius curve.
        sweep_samples: images in that curve.
        batch_size: images attacked at a time.
        seed: of the attacks.

    Raises:
        SpikeproofError: counts below 1, an impossible radius, or no trial.
    """

    radius: Radius = 8 / 255
    samples: int | None = None
    split: Split = "test"
    trials: tuple[TrialName, ...] = ("FGSM", "R+FGSM", "PGD", "ASSG+SA-PGD")
    pgd_steps: int = 20
    pgd_step_size: OptionalRadius = None
    sa_pgd_steps: int = 100
    noise: bool = False
    draws: int = 1
    precision: Precision = "fp32"
    sweep: tuple[Radius, ...] = ()
    sweep_samples: int = 100
    batch_size: int = 125
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", parse_radius(self.radius))
        if self.pgd_step_size is not None:
            object.__setattr__(self, "pgd_step_size", parse_radius(self.pgd_step_size, "step size"))
            if self.pgd_step_size == 0:
                raise SpikeproofError(
                    "An audit needs a pgd_step_size > 0, got 0; leave it out for 2.5 radius / pgd_steps."
                )
        object.__setattr__(self, "sweep", tuple(parse_radius(radius) for radius in self.sweep))
        for name in ("samples", "pgd_steps", "sa_pgd_steps", "draws", "sweep_samples", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SpikeproofError(f"An audit needs {name} >= 1, got {getattr(self, name)}.")
        if self.radius == 0:
            raise SpikeproofError("An audit needs a radius > 0, got 0; the clean images are judged in any case.")
        for name, known in (("trials", TrialName), ("split", Split), ("precision", Precision)):
            given = getattr(self, name)
            for word in given if name == "trials" else (given,):
                if word not in get_args(known):
                    raise SpikeproofError(f"An audit's {name} can be {', '.join(get_args(known))}, not {word}.")
        if not set(self.trials) - {"ASSG+SA-PGD"}:
            raise SpikeproofError("An audit needs at least one nominal trial; PGD and ASSG+SA-PGD tell the most.")

    @property
    def threat(self) -> Linf:
        return Linf(self.radius)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One attack with one gradient source.

    Attributes:
        kind: nominal (the papers' protocol), or adaptive (knows the defense).
        rank: which nominal trial's accuracy is *the* nominal accuracy: the highest rank of the battery.
        swept: whether the accuracy-against-radius curve runs it too.
    """

    name: str
    kind: Literal["nominal", "adaptive"]
    attack_name: str
    attack: Attack
    source: GradientSource
    rank: int = 0
    swept: bool = False


def battery(config: AuditConfig) -> list[Trial]:
    """The trials of a config, in its order.

    Example:
        >>> [trial.name for trial in battery(AuditConfig(trials=("FGSM", "PGD")))]
        ['FGSM', 'PGD-20']
    """
    steps, stable_steps = config.pgd_steps, config.sa_pgd_steps
    iterated: dict[str, Any] = {"steps": steps, "step_size": config.pgd_step_size, "keep": "last"}
    made = {
        "FGSM": Trial("FGSM", "nominal", "FGSM", fgsm, Bptt()),
        "R+FGSM": Trial("R+FGSM", "nominal", "R+FGSM", rfgsm, Bptt(), rank=1),
        "PGD": Trial(f"PGD-{steps}", "nominal", f"PGD-{steps}", partial(pgd, **iterated), Bptt(), rank=3, swept=True),
        "BIM": Trial(f"BIM-{steps}", "nominal", f"BIM-{steps}", partial(bim, **iterated), Bptt(), rank=2),
        "ASSG+SA-PGD": Trial(
            f"ASSG+SA-PGD-{stable_steps}",
            "adaptive",
            f"SA-PGD-{stable_steps}",
            partial(sa_pgd, steps=stable_steps),
            Assg(),
            swept=True,
        ),
    }
    return [made[name] for name in config.trials]
