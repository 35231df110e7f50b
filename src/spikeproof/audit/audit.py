"""``audit``: nominal accuracy, worst case and the gap between them, for one model."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.atomic import write_atomically
from spikeproof.attacks import Attacked, Crafting, check_batch, crafting, cross_entropy_of, judge
from spikeproof.audit.battery import AuditConfig, Trial, battery
from spikeproof.audit.outcomes import Measured, Outcomes, worst_case
from spikeproof.data import ImageSet
from spikeproof.errors import SpikeproofError
from spikeproof.insight import SiteStatistics, describe_sites
from spikeproof.models import SpikingModel
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress
from spikeproof.spiking import inference_noise, sites
from spikeproof.threat import Linf, parse_radius
from spikeproof.train import RunFolder

_PICTURES = 6
_INSIGHT_IMAGES = 100
# A gap of this many accuracy points is more than chance at the sample sizes in use, and worth a warning.
_NOTABLE_GAP = 0.05


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found; ``outcomes`` holds every verdict, so any other number can be computed later.

    Attributes:
        nominal: under the papers' protocol attack (PGD where the battery has it, else BIM, R+FGSM, FGSM).
        worst_case: right on the clean image and under every trial.
        masking_gap: nominal - worst case accuracy.
        zero_gradient_share: share of samples whose input gradient (BPTT, own surrogate) is exactly zero.
    """

    config: AuditConfig
    trials: list[tuple[Trial | None, Measured]]  # None: the clean images
    nominal_trial: str
    nominal: Measured
    worst_case: Measured
    zero_gradient_share: float
    sweep: list[tuple[float, Trial, Measured]]
    sites: list[SiteStatistics]
    warnings: list[str]
    pictures: dict[str, Any]
    outcomes: pa.Table
    device: str
    seconds: float

    @property
    def masking_gap(self) -> float:
        return self.nominal.accuracy - self.worst_case.accuracy

    def to_json(self, command: str) -> dict[str, Any]:
        """Plain values for audit.json."""
        config = self.config
        return {
            "version": 1,
            "samples": self.worst_case.samples,
            "split": config.split,
            "threat": {"norm": "linf", "radius": config.threat.radius},
            "noise": "on" if config.noise else "off",
            "draws": config.draws,
            "device": self.device,
            "crafting_precision": config.precision,
            "seed": config.seed,
            "seconds": round(self.seconds, 1),
            "command": command,
            "trials": [
                {**_columns(trial), "name": _columns(trial)["trial"], **measured.to_json()}
                for trial, measured in self.trials
            ],
            "nominal": {"trial": self.nominal_trial, **self.nominal.to_json()},
            "worst_case": self.worst_case.to_json(),
            "masking_gap": self.masking_gap,
            "zero_gradient_share": self.zero_gradient_share,
            "warnings": self.warnings,
            "sweep": [
                {"radius": radius, "trial": trial.name, "kind": trial.kind, **measured.to_json()}
                for radius, trial, measured in self.sweep
            ],
            "sites": [site.to_json() for site in self.sites],
        }

    def save(self, folder: str | Path, command: str = "spikeproof.audit(...)") -> None:
        """Write outcomes.parquet, pictures.npz and, last, audit.json into a run folder, each whole or not at all.

        A folder without a run becomes one with an audit and no training, so that it can be reported too.
        """
        folder = Path(folder)
        if not (folder / "config.json").exists():
            bare = RunFolder(folder)
            bare.open(folder.name, {}, device=self.device, command=command, resume=False)
            bare.write_metrics([])
        text = json.dumps(self.to_json(command), indent=1) + "\n"
        buffer = io.BytesIO()
        np.savez(buffer, **self.pictures)
        write_atomically(folder / "outcomes.parquet", lambda path: pq.write_table(self.outcomes, path))
        write_atomically(folder / "pictures.npz", lambda path: path.write_bytes(buffer.getvalue()))
        write_atomically(folder / "audit.json", lambda path: path.write_text(text))


def audit(
    model: nn.Module,
    images: ImageSet,
    config: AuditConfig | None = None,
    *,
    threat: Linf | None = None,
    show: bool = True,
) -> Audit:
    """Attack ``model`` with a battery and judge every image in float32.

    Args:
        model: images [N,C,H,W] in [0,1] -> logits. A network without sites can be audited with nominal trials only.
        images: the split to audit, on the model's device or any other.
        config: what to run; ``AuditConfig()`` by default.
        threat: taken instead of the config's radius.

    Raises:
        SpikeproofError: no such samples, images that do not fit, or an adaptive trial on a model without sites.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=50)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> found = audit(model, data.test, AuditConfig(radius=0.1, samples=10, sa_pgd_steps=5), show=False)
        >>> found.worst_case.accuracy <= found.nominal.accuracy
        True
    """
    config = config or AuditConfig()
    if threat is not None:
        config = dataclasses.replace(config, radius=threat.radius)
    began = time.monotonic()
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    count = len(images) if config.samples is None else config.samples
    if count > len(images):
        raise SpikeproofError(f"The {config.split} split has {len(images)} images, fewer than the {count} asked for.")
    chosen = images.take(slice(0, count)).to(device)
    labels = chosen.labels
    pixels = check_batch(chosen.images.float() / 255, labels)
    if isinstance(model, SpikingModel):
        held, given = model.description, (*pixels.shape[1:], images.num_classes)
        if (held.in_channels, held.image_size, held.image_size, held.num_classes) != given:
            raise SpikeproofError(
                f"The model takes {held.in_channels}x{held.image_size}x{held.image_size} images of {held.num_classes} "
                f"classes and these are {given[0]}x{given[1]}x{given[2]} of {given[3]}; give the data it was made for."
            )
    if config.noise and not any(site.noise_std > 0 for site in sites(model).values()):
        raise SpikeproofError("Noise at inference was asked for, but no site of this model has any; train with TGO.")
    with inference_noise(model, config.noise):
        return _Auditor(model, pixels, labels, images.class_names, config, show).run(began)


class _Auditor:
    def __init__(
        self,
        model: nn.Module,
        pixels: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"],
        class_names: tuple[str, ...],
        config: AuditConfig,
        show: bool,
    ) -> None:
        self.model, self.pixels, self.labels, self.class_names = model, pixels, labels, class_names
        self.config, self.show = config, show
        self.outcomes = Outcomes()

    def run(self, began: float) -> Audit:
        config, trials = self.config, battery(self.config)
        swept = [trial for trial in trials if trial.swept]
        few = min(config.sweep_samples, len(self.labels))
        work = len(trials) * len(self.labels) + len(config.sweep) * len(swept) * few
        with private_rng():
            torch.manual_seed(config.seed)
            logits = judge(self.model, self.pixels, draws=config.draws)
            measured: list[tuple[Trial | None, Measured]] = [(None, self._record(None, 0.0, logits.argmax(1)))]
            sweep: list[tuple[float, Trial, Measured]] = []
            with Progress(work, "audit", show=self.show) as progress:
                for trial in trials:
                    found = self._attack(trial, config.threat.radius, len(self.labels), progress)
                    measured.append((trial, _measure(found.correct)))
                    if trial in swept:  # the curve passes through what is known already
                        sweep += [(0.0, trial, measured[0][1]), (config.threat.radius, trial, measured[-1][1])]
                pictures = self._pictures(found.images, logits.argmax(1), trials[-1].name)
                for radius in sorted(set(map(parse_radius, config.sweep)) - {0.0, config.threat.radius}):
                    for trial in swept:
                        sweep.append((radius, trial, _measure(self._attack(trial, radius, few, progress).correct)))
            zero = self._zero_gradient_share()
            statistics = describe_sites(self.model, self.pixels[:_INSIGHT_IMAGES])
        table = self.outcomes.table()
        worst = worst_case(table, config.threat.radius)
        ranked = [(trial.rank, trial.name, m) for trial, m in measured if trial is not None and trial.kind == "nominal"]
        _, protocol, nominal = max(ranked, key=lambda entry: entry[0])
        return Audit(
            config=config,
            trials=measured,
            nominal_trial=protocol,
            nominal=nominal,
            worst_case=worst,
            zero_gradient_share=zero,
            sweep=sorted(sweep, key=lambda point: point[0]),
            sites=statistics,
            warnings=_warnings(config, measured, nominal, worst, zero),
            pictures=pictures,
            outcomes=table,
            device=self.pixels.device.type,
            seconds=time.monotonic() - began,
        )

    def _attack(self, trial: Trial, radius: float, count: int, progress: Progress) -> Attacked:
        parts = []
        for start in range(0, count, self.config.batch_size):
            chunk = slice(start, min(start + self.config.batch_size, count))
            how = Crafting(
                source=trial.source,
                draws=self.config.draws,
                precision=self.config.precision,
                seed=self.config.seed * 1_000_003 + start,
            )
            parts.append(trial.attack(self.model, self.pixels[chunk], self.labels[chunk], Linf(radius), how))
            progress.advance(chunk.stop - chunk.start)
        found = Attacked(torch.cat([part.images for part in parts]), torch.cat([part.correct for part in parts]))
        self._add_outcomes(trial, radius, found.correct)
        progress.line(
            f"{trial.name} at {radius:.4f}: {100 * found.correct.float().mean():.1f} % of {count} still right"
        )
        return found

    def _record(self, trial: Trial | None, radius: float, predictions: Int64[Tensor, " n"]) -> Measured:
        correct = predictions == self.labels
        self._add_outcomes(trial, radius, correct)
        return _measure(correct)

    def _add_outcomes(self, trial: Trial | None, radius: float, correct: Bool[Tensor, " n"]) -> None:
        config = self.config
        self.outcomes.add(
            self.labels[: len(correct)],
            correct,
            **_columns(trial),
            norm="linf",
            radius=radius,
            seed=config.seed,
            draws=config.draws,
            noise="on" if config.noise else "off",
        )

    def _zero_gradient_share(self) -> float:
        zero = 0
        for start in range(0, len(self.labels), self.config.batch_size):
            chunk = slice(start, start + self.config.batch_size)
            with crafting(self.model, Crafting(draws=self.config.draws)) as craft:
                gradient, _ = craft.gradient(self.pixels[chunk], cross_entropy_of(self.labels[chunk]))
            zero += int((gradient.flatten(1) == 0).all(1).sum())
        return zero / len(self.labels)

    def _pictures(self, adversarial: Tensor, predictions: Tensor, trial: str) -> dict[str, Any]:
        after = judge(self.model, adversarial, draws=self.config.draws).argmax(1)
        # Samples that the attack turned are the telling ones; others fill up where there are too few.
        turned = (predictions == self.labels) & (after != self.labels)
        order = torch.argsort(turned.int(), descending=True, stable=True)[:_PICTURES]
        return {
            "clean": (self.pixels[order] * 255).round().byte().cpu().numpy(),
            "adversarial": adversarial[order].float().cpu().numpy(),
            "labels": self.labels[order].cpu().numpy(),
            "clean_predictions": predictions[order].cpu().numpy(),
            "adversarial_predictions": after[order].cpu().numpy(),
            "class_names": np.array(self.class_names),
            "trial": np.array(trial),
        }


def _columns(trial: Trial | None) -> dict[str, str]:
    """How outcomes name a trial; None is the clean image."""
    if trial is None:
        return {"trial": "clean", "kind": "clean", "attack": "none", "source": "none"}
    return {"trial": trial.name, "kind": trial.kind, "attack": trial.attack_name, "source": trial.source.name}


def _measure(correct: Bool[Tensor, " n"]) -> Measured:
    return Measured(int(correct.sum()), len(correct))


def _warnings(
    config: AuditConfig,
    measured: list[tuple[Trial | None, Measured]],
    nominal: Measured,
    worst: Measured,
    zero_gradient_share: float,
) -> list[str]:
    """Reasons not to believe the nominal number, one sentence each."""
    found = []
    adaptive = [m.accuracy for trial, m in measured if trial is not None and trial.kind == "adaptive"]
    if nominal.accuracy - worst.accuracy >= _NOTABLE_GAP:
        found.append(
            f"The worst case is {100 * (nominal.accuracy - worst.accuracy):.1f} points below the nominal accuracy: "
            "a fixed surrogate overstates this model's robustness."
        )
    if zero_gradient_share > 0:
        found.append(
            f"{100 * zero_gradient_share:.1f} % of the samples have an exactly zero input gradient: attacks through "
            "this surrogate cannot move them at all."
        )
    if not adaptive:
        found.append("No adaptive attack was run: the worst case is over the papers' own attacks only.")
    elif min(adaptive) > nominal.accuracy:
        found.append("The adaptive attack was weaker than the nominal one; run it for more steps.")
    if config.noise and config.draws < 10:
        found.append(f"Noise was on with {config.draws} draw(s); 10 or more are needed for an average to mean much.")
    return found
