"""Settings of gradient sources, such as ASSG's A', chosen on validation samples and never on the audited ones.

The original papers search them on the test set, which makes an attack look stronger, and a defense weaker, than it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Attacked, Crafting, judged, pgd, sa_pgd
from spikeproof.audit.trials import Trial, Tuned
from spikeproof.gradients import TUNABLES
from spikeproof.records.audit_json import TuningRecord
from spikeproof.threat import Threat


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Which settings were chosen, and from which measurements.

    Attributes:
        tuned: the settings, for the trials.
        samples: how many validation images they were chosen on; 0 where the defaults were taken.
        tried: for each setting the accuracy in [0, 1] that each tried value left.
    """

    tuned: Tuned
    samples: int
    tried: dict[str, dict[float, float]]

    def record(self) -> TuningRecord:
        """As audit.json has it."""
        tried = {name: {str(value): left for value, left in by.items()} for name, by in self.tried.items()}
        labels = {name: tunable.label for name, tunable in TUNABLES.items()}
        return TuningRecord.model_validate({"samples": self.samples, **self.tuned, "tried": tried, "labels": labels})


def tune(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    trials: Sequence[Trial],
    how: Crafting,
    batch_size: int,
) -> Tuning:
    """Try a few values of each setting that these trials leave open, and take the one that leaves the lowest accuracy.

    Where two leave the same accuracy, the one whose images have the higher loss is taken. Each value gets as many steps
    as the longest trial that will use it: the value that is best at 15 steps (a sharp surrogate) costs up to 16 points
    at 100.

    Args:
        model: the audited network.
        images: validation images in [0, 1].
        labels: one for each image.
        threat: of the audit.
        trials: those of the audit.
        how: as the trials are run, but for the source.
        batch_size: images at a time.
    """
    chosen, tried = Tuned(), {}
    for name, tunable in TUNABLES.items():
        taking = [trial for trial in trials if tunable in trial.tunables]
        if not taking:
            continue  # no trial takes it, or their texts fix it
        steps = max(trial.form.steps(trial.number) for trial in taking)
        measured = {}
        attack: Callable[..., Attacked] = sa_pgd if tunable.search == "SA-PGD" and threat.norm == "linf" else pgd
        for value in tunable.values:
            source, right, loss = tunable.make(value), 0, 0.0
            for start in range(0, len(labels), batch_size):
                at = slice(start, start + batch_size)
                crafted = dataclasses.replace(how, source=source, seed=(how.seed + start) % 2**63)
                attacked = attack(model, images[at], labels[at], threat, crafted, steps=steps)
                right += int(attacked.correct.sum())
                loss += cross_entropy(judged(model, attacked.images), labels[at], reduction="sum").item()
            measured[value] = (right / len(labels), loss / len(labels))
        best = min(measured, key=lambda value: (measured[value][0], -measured[value][1]))
        chosen = Tuned(**chosen | {name: best})
        tried[name] = {value: accuracy for value, (accuracy, _) in measured.items()}
    return Tuning(chosen, len(labels), tried)
