"""``harden``: fine-tune a network by the best known defense for a budget, and audit it before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from spikeproof.audit import Audit, AuditConfig, audit
from spikeproof.audit.outcomes import standing
from spikeproof.checked import MOST, check_seed, real, whole
from spikeproof.counts import mcnemar
from spikeproof.data import Augmentation, Data
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError
from spikeproof.harden.budget import Plan, plan, restored
from spikeproof.kinds import check_kinds
from spikeproof.machine.device import pick_device
from spikeproof.records.trials import Counted
from spikeproof.runs import Processes, RunFolder
from spikeproof.threat import Linf
from spikeproof.train import Run, train

_SAMPLES = 200
_MOST_MINUTES = 1e6
_LEARNING_RATE = 1e-3
# What the new weights are held against the old ones by, on validation images.
_LOOK = ("PGD-7", "SA-PGD-20@ASSG", "LOCAL-200")
_LOOKED_AT = 200


@dataclasses.dataclass(frozen=True)
class Hardened:
    """What hardening did; printed, two rows and a sentence.

    Attributes:
        model: the network that was handed over, as it is now.
        before, after: audits of the old and of the new weights, on the same images.
        plan: by which defense it was trained, and with what.
        run: the training.
        seconds: of training, by the clock, what was compiled not counted.
        stood, stands: right on validation images under two attacks, by the old and by the new weights.
    """

    model: nn.Module
    before: Audit
    after: Audit
    plan: Plan
    run: Run
    seconds: float
    stood: Counted
    stands: Counted

    @property
    def kept(self) -> bool:
        """Whether the network has the new weights; it has the old ones where the new ones do worse on validation."""
        return self.stands.correct >= self.stood.correct

    @property
    def gained(self) -> float:
        """Worst-case accuracy, after - before."""
        return self.after.worst_case.accuracy - self.before.worst_case.accuracy

    @property
    def cost(self) -> float:
        """Clean accuracy, before - after."""
        return self.before.clean.accuracy - self.after.clean.accuracy

    @property
    def won(self) -> int:
        """How many images survive after that did not before."""
        return self._differing()[0]

    @property
    def lost(self) -> int:
        """How many images survived before and do not after."""
        return self._differing()[1]

    def _differing(self) -> tuple[int, int]:
        threat = self.after.config.threat
        before, after = (standing(each.outcomes, threat.eps, threat.norm) for each in (self.before, self.after))
        won = sum(after[image] and not before[image] for image in after)
        return won, sum(before[image] and not after[image] for image in after)

    def to_json(self, command: str = "spikeproof.harden(...)") -> dict[str, Any]:
        """Plain values: what was done and gained, and both audits."""
        return {
            "method": self.plan.method,
            "batches": self.plan.steps,
            "seconds": round(self.seconds, 1),
            "kept": self.kept,
            "gained": self.gained,
            "cost": self.cost,
            "won": self.won,
            "lost": self.lost,
            "before": self.before.to_json(command),
            "after": self.after.to_json(command),
        }

    def __str__(self) -> str:
        rows = [f"{'':8}{'clean':>8}{'protocol':>10}{'worst case':>12}{'95 %':>15}{'audit':>9}"]
        doubts = []
        for name, found in (("before", self.before), ("after", self.after)):
            interval = f"[{100 * found.worst_case.low:.1f}, {100 * found.worst_case.high:.1f}]"
            worst, interval = ("none", "-") if found.no_number else (_percent(found.worst_case), interval)
            rows.append(
                f"{name:8}{_percent(found.clean):>8}{_percent(found.protocol):>10}{worst:>12}"
                f"{interval:>15}{f'{found.seconds:.0f} s':>9}"
            )
            doubts += [f"Doubtful of {name}: {warning}" for warning in found.warnings]
        config, after = self.after.config, self.after
        told = (
            f"{self.plan.method} with EMA for {self.seconds:.0f} s ({self.plan.steps} batches, which should have taken "
            f"{self.plan.seconds:.0f} s): right under every attack "
            f"{100 * self.gained:+.1f} points, clean {-100 * self.cost:+.1f}; {self.won} of {after.worst_case.samples} "
            f"images won, {self.lost} lost (p = {mcnemar(self.won, self.lost):.2g}). Linf {config.threat.eps:.4g}, "
            f"battery {config.battery or 'custom'}, {config.split} split, seed {self.plan.config.seed}, {after.device}."
        )
        taken_back = (
            f"The network has its old weights again: under attack the new ones are right on {self.stands.correct} of "
            f"{self.stands.samples} validation images, the old ones on {self.stood.correct}. Give more minutes or a "
            "smaller learning rate."
        )
        return "\n".join([*rows, "", told, *([] if self.kept else [taken_back]), *doubts])


@check_kinds
def harden(
    model: nn.Module,
    data: Data,
    *,
    eps: float | str = 8 / 255,
    minutes: float = 30.0,
    config: AuditConfig | None = None,
    learning_rate: float = _LEARNING_RATE,
    batch_size: int = 64,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: str | Path | None = None,
    name: str = "hardened",
    origin: Mapping[str, Any] | None = None,
    command: str = "spikeproof.harden(...)",
    show: bool = True,
) -> Hardened:
    """Fine-tune ``model`` in place against Linf ``eps`` for some minutes, and audit it before and after.

    AT with SR where the budget has at least 4 passes over the training images by it, else AT where it has 2, else Free
    AT with 3 replays; AdamW from a small learning rate by a cosine to 0, and an average of the weights (EMA). How many
    steps fit is told by timing a few, so another load on the machine makes them take longer. Training begins from the
    weights as they are. Where anything fails or is stopped, the network has its weights again; so too where the new
    ones are right on fewer validation images under PGD-7, SA-PGD-20@ASSG and LOCAL-200 than the old ones.

    Args:
        model: of ``create_model``, ``load_model`` or ``adapt``, trained.
        data: what it was trained on; ``data.train`` is trained with.
        eps: of the threat, in training and audits: in (0, 1], a number or text like "8/255".
        minutes: of training; the two audits take their own time, which the record tells.
        config: of the audits; the battery "quick" on 200 images of the test split by default. Its threat is ``eps``.
        learning_rate: of AdamW at the first step. Of 3e-4, 1e-3 and 3e-3 the default is the largest that gained with
            any budget, by two networks on validation images of the digits. The one with batch norm gains more by 3e-3.
        batch_size: images in a step.
        augmentation: of the training images; give what the network was trained with. None takes them as they are.
        seed: of training.
        device: where to train and to audit; "auto" takes CUDA where there is one.
        out: a folder for the run, with the audit after among its audits and the one before in ``before``.
        name, origin, command: what config.json says of the run; ``origin`` are the settings of the one that is
            hardened.
        show: tell on the way.

    Returns:
        Both audits, what was done, and what it gained and cost. Printing it shows two rows.

    Raises:
        SpikeproofError: an eps of 0, minutes in which not a tenth of the training images is seen, an L2 threat, a
            folder that holds a run; and what ``audit`` and ``train`` refuse.
        Interrupted: Ctrl-C or SIGTERM.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=50, train_limit=128)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2)
        >>> config = AuditConfig(battery=None, trials=("PGD-3",), samples=10, diagnostics=False)
        >>> found = harden(model, data, eps=0.1, minutes=0.01, config=config, show=False)
        >>> found.after.worst_case.samples
        10
    """
    threat = Linf(eps)
    if threat.eps == 0:
        raise SpikeproofError("harden needs an eps > 0, got 0; 8/255 is usual.")
    real(minutes, "harden", "minutes", 0, _MOST_MINUTES, above=True)
    real(learning_rate, "harden", "learning_rate", 0, 1e3, above=True)
    whole(batch_size, "harden", "batch_size", 1, MOST)
    check_seed(seed, "harden")
    if Processes.of_this_process().world > 1:
        raise SpikeproofError(
            "harden times its steps and decides by them, so several processes would not agree; start it without "
            "torchrun."
        )
    asked = _of_both(config, threat, data)
    folder = None if out is None else user_path(out)
    if folder is not None and RunFolder(folder).begun:
        raise SpikeproofError(f"{folder} already holds a run; give harden another folder, or remove it.")
    model.to(pick_device(device))
    chosen = plan(
        model,
        data,
        eps=threat.eps,
        seconds=60 * minutes,
        learning_rate=learning_rate,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
        device=device,
    )
    before = _audited(model, data, asked, show)
    stood = _standing(model, data, threat)
    with restored(model, always=False) as put_back:
        run = train(
            model,
            chosen.data,
            chosen.defenses,
            chosen.config,
            out=folder,
            name=name,
            settings=None if origin is None else _settings(name, origin, chosen),
            command=command,
            show=show,
        )
        after = _audited(model, data, asked, show)
        seconds = sum(float(line["seconds"]) for line in run.metrics)
        hardened = Hardened(model, before, after, chosen, run, seconds, stood, _standing(model, data, threat))
        if not hardened.kept:
            put_back()
    if folder is not None:
        after.save(folder, command)
        before.save(folder / "before", command)
    return hardened


def _of_both(config: AuditConfig | None, threat: Linf, data: Data) -> AuditConfig:
    if config is None:
        return AuditConfig(eps=threat.eps, battery="quick", samples=min(_SAMPLES, len(data.test)))
    if config.norm != "linf":
        raise SpikeproofError("harden trains against an Linf threat, and its audits are of it too; leave out the norm.")
    return dataclasses.replace(config, eps=threat.eps)


def _audited(model: nn.Module, data: Data, config: AuditConfig, show: bool) -> Audit:
    testing = config.split == "test"
    images = data.test if testing else data.validation
    return audit(model, images, config, validation=data.validation if testing else None, show=show)


def _standing(model: nn.Module, data: Data, threat: Linf) -> Counted:
    samples = min(_LOOKED_AT, len(data.validation))
    config = AuditConfig(
        eps=threat.eps,
        battery=None,
        trials=_LOOK,
        samples=samples,
        split="validation",
        tune_samples=0,
        diagnostics=False,
    )
    return audit(model, data.validation, config, show=False).worst_case


def _settings(name: str, origin: Mapping[str, Any], chosen: Plan) -> dict[str, Any]:
    """The settings of the run that was hardened, with the defenses and the training that hardened it."""
    kept = {part: origin[part] for part in ("data", "model", "network", "audit") if part in origin}
    defenses = {defense.field: dataclasses.asdict(defense) for defense in chosen.defenses}
    return {"name": name, **kept, **defenses, "train": dataclasses.asdict(chosen.config)}


def _percent(measured: Counted) -> str:
    return f"{100 * measured.accuracy:.1f}"
