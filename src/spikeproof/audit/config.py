"""What an audit is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn

from spikeproof.attacks import Crafting
from spikeproof.audit.batteries import AROUND, BATTERIES, BatteryName
from spikeproof.audit.trials import Trial, Tuned, make_transfer, make_trial
from spikeproof.checked import LARGEST_SEED, MOST, MOST_DRAWS, told, whole
from spikeproof.errors import SpikeproofError
from spikeproof.former_names import former_audit
from spikeproof.machine.precision import Precision, for_verdicts
from spikeproof.threat import BALLS, NORMS, Eps, Norm, OptionalEps, Threat

Split = Literal["test", "validation"]
_USUAL: dict[Norm, float] = {"linf": 8 / 255, "l2": 128 / 255}
_RANGES = {
    "samples": (1, MOST),
    "eot_iter": (1, MOST_DRAWS),
    "judge_draws": (1, MOST_DRAWS),
    "tune_samples": (0, MOST),
    "sweep_samples": (1, MOST),
    "batch_size": (1, MOST),
    "seed": (0, LARGEST_SEED),
}
_MAY_BE_LEFT_OUT = ("samples", "eot_iter", "judge_draws", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What an audit does.

    Args:
        norm: of the threat: "linf" or "l2".
        eps: of the threat; a number or text like "8/255"; in Linf at most 1. None for 8/255 in Linf, 128/255 in L2.
        samples: how many images of the split, drawn by a seed of its own so that each class has its share; None for
            all.
        split: "test", or "validation" while choosing hyper-parameters.
        battery: the named list of trials; None for those of ``trials`` alone.
        trials: further trials, as text: "PGD-20", "SA-PGD-100@ASSG", "APGD-CE-100@BPTT:sigmoid(4)".
        transfer: trials that are crafted on the substitutes, where the audit is given any, and judged on the audited
            model: each a black-box trial after all others, named as in "TRANSFER:PGD-20".
        per_member: every trial attacks every sample, so that each has an accuracy of its own; False gives all but the
            protocol trials only what is left, which is much cheaper; None as the battery has it.
        noise: whether the sites' firing noise (NLIF, NDL) is on at inference; None as the network was made.
        eot_iter: E, forwards averaged in each gradient; None for 10 where the network is random at inference, else 1.
        judge_draws: R, forwards whose logits an attack averages where it looks at its images; None for as many as
            ``eot_iter``. Behind each verdict on a random network are max(R, 100) or more.
        precision: of crafting; verdicts are float32 always. "auto" is fp32 on every machine: crafting in bf16 was
            measured to overstate the worst case.
        tune_samples: validation images on which ASSG's and HART's settings are chosen; 0 for their defaults, since
            no gain of choosing them outlasted the local search (docs/log.md).
        sweep: further radii for the accuracy-against-radius curves.
        step_sweep: numbers of steps for the accuracy-against-steps curves.
        sweep_samples: images in those curves, and in the diagnostics.
        diagnostics: whether to check if the numbers can be believed.
        batch_size: images attacked at a time; None for 250, or fewer where memory holds no more.
        seed: of the attacks.

    Raises:
        SpikeproofError: counts below 1, an impossible radius, an unknown trial, one that cannot be transferred, or no
            protocol trial.
    """

    norm: Norm = "linf"
    eps: OptionalEps = None
    samples: int | None = None
    split: Split = "test"
    battery: BatteryName | None = "reliable"
    trials: tuple[str, ...] = ()
    transfer: tuple[str, ...] = ("PGD-20",)
    per_member: bool | None = None
    noise: bool | None = None
    eot_iter: int | None = None
    judge_draws: int | None = None
    precision: Precision = "auto"
    tune_samples: int = 0
    sweep: tuple[Eps, ...] = ()
    step_sweep: tuple[int, ...] = ()
    sweep_samples: int = 100
    diagnostics: bool = True
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_words()
        ball = BALLS[self.norm]
        object.__setattr__(self, "eps", ball.parse(_USUAL[self.norm] if self.eps is None else self.eps))
        object.__setattr__(self, "sweep", tuple(ball.parse(eps) for eps in self.sweep))
        if self.eps == 0:
            raise SpikeproofError("An audit needs a radius > 0, got 0; the clean images are judged in any case.")
        self._check_numbers()
        self.transfers(())
        if not any(trial.rank is not None for trial in self.members()):
            raise SpikeproofError(
                "An audit needs at least one protocol trial through the model's own surrogate; PGD-20 tells the most."
            )

    def _check_words(self) -> None:
        for name, known in (
            ("norm", tuple(NORMS)),
            ("split", get_args(Split)),
            ("precision", get_args(Precision)),
            ("battery", (*BATTERIES, None)),
        ):
            word = getattr(self, name)
            if not any(word is each or (isinstance(word, str) and word == each) for each in known):
                listed = ", ".join(map(str, known))
                raise SpikeproofError(f"An audit's {name} can be {listed}, not {told(word)}.")
        for name in ("trials", "transfer"):
            given = getattr(self, name)
            if not isinstance(given, tuple | list) or not all(isinstance(text, str) for text in given):
                raise SpikeproofError(f"An audit's {name} are texts such as ('PGD-20',), got {told(given)}.")
        for name, missing in (("noise", True), ("per_member", True), ("diagnostics", False)):
            word = getattr(self, name)
            if not isinstance(word, bool) and not (missing and word is None):
                raise SpikeproofError(f"An audit's {name} is True or False, got {told(word)}.")
        for name in ("sweep", "step_sweep"):
            if not isinstance(getattr(self, name), tuple | list):
                raise SpikeproofError(f"An audit's {name} is several numbers, got {told(getattr(self, name))}.")

    def _check_numbers(self) -> None:
        """Every whole number as an int, in the range that it can have."""
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_LEFT_OUT:
                object.__setattr__(self, name, whole(value, "An audit", name, least, most))
        object.__setattr__(self, "step_sweep", tuple(whole(each, "An audit", "step_sweep") for each in self.step_sweep))

    @property
    def threat(self) -> Threat:
        assert self.eps is not None
        return BALLS[self.norm](self.eps)

    def crafting(self) -> Crafting:
        """How this audit obtains gradients and verdicts, but for the source."""
        return Crafting(
            eot_iter=self.eot_iter or 1, judge_draws=self.judge_draws, precision=self.precision, seed=self.seed
        )

    def meaning(self) -> dict[str, Any]:
        """Every setting as a plain value, "auto" as what it means: two that ask for the same audit have the same.

        Addresses and names of audits are made from it, so it has the names that settings had first.

        Example:
            >>> AuditConfig().meaning() == AuditConfig(precision="fp32").meaning()
            True
        """
        return former_audit(dataclasses.asdict(self)) | {"precision": for_verdicts(self.precision)}

    @property
    def verdict_draws(self) -> int:
        """How many draws are behind a verdict: of a random network at least so many, of another exactly."""
        how = self.crafting()
        return how.least_draws if self.noise else how.look_draws

    @property
    def every_member_attacks_all(self) -> bool:
        if self.per_member is not None:
            return self.per_member
        return self.battery is not None and BATTERIES[self.battery].per_member

    def members(self, tuned: Tuned | None = None) -> list[Trial]:
        """The trials in the order in which they are run: protocol ones first, all else as it is written.

        Example:
            >>> [trial.name for trial in AuditConfig(battery="quick", trials=("R+FGSM",)).members()]
            ['FGSM', 'PGD-20', 'R+FGSM', 'SA-PGD-20@ASSG', 'APGD-CE-20@PDSG', 'LOCAL-200']
        """
        listed = (*self._battery_trials(), *self.trials)
        made = {trial.name: trial for trial in (make_trial(text, tuned, self.norm) for text in listed)}
        return sorted(made.values(), key=lambda trial: trial.kind != "protocol")

    def going_round(self, members: Sequence[Trial], tuned: Tuned | None = None) -> list[Trial]:
        """These trials and those that go round what hides the gradient, before any that goes on from the best image.

        Example:
            >>> config = AuditConfig(battery="quick")
            >>> [trial.name for trial in config.going_round(config.members())][-3:]
            ['SA-PGD-100@AROUND', 'SA-PGD-MARGIN-100@AROUND', 'LOCAL-200']
        """
        known = {trial.name for trial in members}
        made = (make_trial(text, tuned, self.norm) for text in AROUND[self.norm] if text not in known)
        added = [dataclasses.replace(trial, added=True) for trial in made]
        at = next((number for number, trial in enumerate(members) if trial.continues), len(members))
        return [*members[:at], *added, *members[at:]]

    def transfers(self, substitutes: Sequence[nn.Module]) -> list[Trial]:
        """The trials that are crafted on these networks, as they are written.

        Example:
            >>> [trial.name for trial in AuditConfig(transfer=("FGSM", "BIM-7")).transfers([nn.Identity()])]
            ['TRANSFER:FGSM', 'TRANSFER:BIM-7']
        """
        made = (make_transfer(text, substitutes, self.norm) for text in self.transfer)
        return list({trial.name: trial for trial in made}.values())

    def _battery_trials(self) -> tuple[str, ...]:
        if self.battery is None:
            return ()
        battery = BATTERIES[self.battery]
        if self.norm == "linf":
            return battery.trials
        if battery.l2 is None:
            fitting = ", ".join(name for name, each in BATTERIES.items() if each.l2 is not None)
            raise SpikeproofError(f"The battery {self.battery} is of Linf threats; for L2 there are {fitting}.")
        return battery.l2
