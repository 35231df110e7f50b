"""What an audit is asked to do."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn

from spikeproof.attacks import Crafting
from spikeproof.audit.batteries import AROUND, BATTERIES, BatteryName
from spikeproof.audit.trials import Trial, Tuned, make_trial
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
        eps: the radius of the threat, > 0, for pixels in [0, 1]: a number or text like "8/255"; in Linf at most 1.
            None for 8/255 in Linf, 128/255 in L2.
        samples: how many images of the split; None for all. A fixed seed draws them, so that each class has its share.
        split: "test", or "validation" while choosing hyper-parameters.
        battery: the named list of trials; None for those of ``trials`` alone.
        trials: further trials, as text: "PGD-20", "SA-PGD-100@ASSG", "APGD-CE-100@BPTT:sigmoid(4)".
        transfer: trials that are crafted on the substitutes, where the audit is given any, and judged on the audited
            model. Each is a black-box trial after all others, named as in "TRANSFER:PGD-20".
        per_member: True lets every trial attack every sample, so that each has an accuracy of its own. False gives all
            but the protocol trials only the samples that are left, which is much cheaper. None is as the battery says.
        noise: whether the sites' firing noise (NLIF, NDL) is on at inference; None for as the network was made.
        eot_iter: E, forwards averaged in each gradient; None for 10 where the network is random at inference, else 1.
        judge_draws: R, forwards whose logits an attack averages where it looks at its images; None for as many as
            ``eot_iter``. Each verdict on a random network rests on max(R, 100) forwards or more.
        precision: of crafting; verdicts are always float32. "auto" is fp32 on every machine, because crafting in bf16
            was measured to overstate the worst case.
        tune_samples: validation images on which ASSG's and HART's settings are chosen. 0 takes their defaults: after
            the local search, nothing was left of what choosing them gains (docs/log.md).
        sweep: further radii for the accuracy-against-radius curves.
        step_sweep: numbers of steps for the accuracy-against-steps curves.
        sweep_samples: images in those curves, and in the diagnostics.
        diagnostics: whether to check if the numbers can be believed.
        batch_size: images attacked at a time; None for 250, or fewer where memory holds no more.
        seed: of the attacks, >= 0.

    Raises:
        SpikeproofError: counts below 1, an impossible radius, an unknown trial, one that cannot be transferred, or no
            protocol trial.

    Example:
        >>> AuditConfig(eps="4/255", samples=100, battery="quick").threat
        Linf(eps=0.01568627450980392)
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
                "An audit needs at least one protocol trial through the model's own surrogate; PGD-20 is usual."
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
        """The norm and the radius together."""
        assert self.eps is not None
        return BALLS[self.norm](self.eps)

    def crafting(self) -> Crafting:
        """How this audit takes gradients and verdicts; each trial brings its own gradient source."""
        return Crafting(
            eot_iter=self.eot_iter or 1, judge_draws=self.judge_draws, precision=self.precision, seed=self.seed
        )

    def meaning(self) -> dict[str, Any]:
        """Every setting as a plain value, with "auto" replaced by what it means.

        Two configs that ask for the same audit have the same. Addresses and names of audits are made from it, so the
        settings stand here under the names that they had first.

        Example:
            >>> AuditConfig().meaning() == AuditConfig(precision="fp32").meaning()
            True
        """
        return former_audit(dataclasses.asdict(self)) | {"precision": for_verdicts(self.precision)}

    @property
    def verdict_draws(self) -> int:
        """How many forwards a verdict rests on: exactly so many, for a random network at least so many."""
        how = self.crafting()
        return how.least_draws if self.noise else how.look_draws

    @property
    def every_member_attacks_all(self) -> bool:
        """Whether every trial attacks every sample: ``per_member``, or where that is None what the battery says."""
        if self.per_member is not None:
            return self.per_member
        return self.battery is not None and BATTERIES[self.battery].per_member

    @functools.cached_property
    def own(self) -> tuple[Trial, ...]:
        """The trials of the texts of ``trials``."""
        return tuple(make_trial(text, self.norm) for text in self.trials)

    def members(self, tuned: Tuned | None = None) -> list[Trial]:
        """The trials of the battery and of ``trials``, each once: protocol trials first, the rest as it is written.

        Args:
            tuned: settings of gradient sources from validation samples; None for the defaults.

        Example:
            >>> [trial.name for trial in AuditConfig(battery="quick", trials=("R+FGSM",)).members()]
            ['FGSM', 'PGD-20', 'R+FGSM', 'SA-PGD-20@ASSG', 'APGD-CE-20@PDSG', 'LOCAL-200']
        """
        return list(self._members) if tuned is None else [trial.tuned(tuned) for trial in self._members]

    def going_round(self, members: Sequence[Trial], tuned: Tuned | None = None) -> list[Trial]:
        """Add the trials that go round what hides the gradient (``AROUND``).

        Args:
            members: the trials so far. The new ones stand before the first that continues from the best image.
            tuned: settings of gradient sources from validation samples; None for the defaults.

        Returns:
            All trials; those that were not among ``members`` have ``added`` set.

        Example:
            >>> config = AuditConfig(battery="quick")
            >>> [trial.name for trial in config.going_round(config.members())][-3:]
            ['SA-PGD-100@AROUND', 'SA-PGD-MARGIN-100@AROUND', 'LOCAL-200']
        """
        known = {trial.name for trial in members}
        listed = (make_trial(text, self.norm).tuned(tuned or Tuned()) for text in AROUND[self.norm])
        added = [dataclasses.replace(trial, added=True) for trial in listed if trial.name not in known]
        at = next((number for number, trial in enumerate(members) if trial.continues), len(members))
        return [*members[:at], *added, *members[at:]]

    def transfers(self, substitutes: Sequence[nn.Module]) -> list[Trial]:
        """The black-box trials of ``transfer``, crafted on these networks.

        Args:
            substitutes: any number of networks that take the audited one's images.

        Example:
            >>> [trial.name for trial in AuditConfig(transfer=("FGSM", "BIM-7")).transfers([nn.Identity()])]
            ['TRANSFER:FGSM', 'TRANSFER:BIM-7']
        """
        return [trial.crafted_on(substitutes) for trial in self._transfers]

    def attacks_all(self, trial: Trial) -> bool:
        """Whether a trial attacks every sample that is right when clean; else only those that earlier trials left."""
        return trial.kind == "protocol" or self.every_member_attacks_all

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields alone: another process reads the trials' texts again."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _members(self) -> tuple[Trial, ...]:
        """The trials of the texts of ``battery`` and ``trials``, each once."""
        listed = [make_trial(text, self.norm) for text in self._battery_trials()]
        once = {trial.name: trial for trial in (*listed, *self.own)}
        return tuple(sorted(once.values(), key=lambda trial: trial.kind != "protocol"))

    @functools.cached_property
    def _transfers(self) -> tuple[Trial, ...]:
        listed = (make_trial(text, self.norm).crafted_on(()) for text in self.transfer)
        return tuple({trial.name: trial for trial in listed}.values())

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
