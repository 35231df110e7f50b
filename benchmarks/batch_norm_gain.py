"""How much of a defense's gain is batch norm's: potentials moved out of a surrogate of fixed width by a larger gain.

    python benchmarks/batch_norm_gain.py RUN_VANILLA RUN_DEFENDED [--data-dir DIR] [--limit 500] [--steps 20]

MPD-SGR's and TGO's penalties fall when potentials spread, which a larger batch-norm gain alone brings about. An attack
that keeps the training surrogate then sees fewer potentials under it, be the network safer or not.

This prints, for both networks at every site, batch norm's mean |gain|, the margins' standard deviation, the share of
potentials under the surrogate (Omega, Eq. 13 of MPD-SGR) and under a window of one standard deviation; and the
accuracies under PGD on the test images at the recipe's radius, by

  own       the training surrogate;
  widened   at each site the surrogate widened by the ratio of the margins' standard deviations, defended / vanilla, so
            that the attack sees a share of potentials as in the vanilla run. On the vanilla network the same widths,
            which says what a wider surrogate does by itself;
  either    an image counts as right if it withstands both.

The share of the protocol gain (own, defended - vanilla) that the widened attack takes away is the loophole's:

    (own(defended) - either(defended)) - (own(vanilla) - either(vanilla))   over   own(defended) - own(vanilla)
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.attacks import Crafting, judge, pgd
from spikeproof.data import Data, ImageSet
from spikeproof.defenses import overlap
from spikeproof.gradients import Attached
from spikeproof.machine.device import pick_device
from spikeproof.models import SpikingModel, load_model
from spikeproof.recipes.recipe import DataConfig
from spikeproof.spiking import Drive, PerStepNorm, Site, override_gradient, probe, sites
from spikeproof.threat import Linf, parse_eps

_BATCH = 250


@dataclasses.dataclass(frozen=True)
class Widened:
    """BPTT with each site's own surrogate ``ratios[site]`` times as wide: h(v / r) / r, which keeps its mass."""

    ratios: Mapping[str, float]

    @property
    def name(self) -> str:
        return "BPTT widened by " + ", ".join(f"{ratio:.3f}" for ratio in self.ratios.values())

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        with override_gradient(model, {name: _Fire(ratio) for name, ratio in self.ratios.items()}):
            yield Attached()


@dataclasses.dataclass(frozen=True)
class _Fire:
    ratio: float

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Tensor:
        wide = torch.promote_types(drive.values.dtype, torch.float32)
        own = drive.values.new_ones((site.num_steps, 1), dtype=wide) if drive.sharpness is None else drive.sharpness
        return site.fire(drive._replace(sharpness=own / self.ratio), pooled=pooled).spikes


@dataclasses.dataclass(frozen=True)
class AtSite:
    """What one site's margins look like on clean images."""

    gain: float | None
    spread: float
    omega: float
    omega_of_spread: float


@torch.no_grad()
def look(model: SpikingModel, images: Tensor) -> dict[str, AtSite]:
    """Every site on these images, in eval mode; the spread is the root mean of the variances of steps and channels."""
    with probe(model.eval(), "moments") as record:
        model(images)
    found = {}
    for name, seen in record.items():
        mean, std = seen.moments()
        norm = sites(model)[name].norm
        weights = None
        if isinstance(norm, PerStepNorm):
            weights = torch.stack([step.weight for step in norm.steps])
        elif norm is not None:
            weights = norm.weight
        found[name] = AtSite(
            gain=None if weights is None else weights.abs().mean().item(),
            spread=std.square().mean().sqrt().item(),
            omega=overlap(mean, std, seen.window).mean().item(),
            omega_of_spread=overlap(mean, std, std).mean().item(),
        )
    return found


def attacked(model: SpikingModel, chosen: ImageSet, how: Crafting, eps: float, steps: int) -> Tensor:
    """Of each image whether the model is right about what PGD found; batch by batch."""
    parts = [
        pgd(model, images, labels, Linf(eps), how, steps=steps).correct for images, labels in chosen.batches(_BATCH)
    ]
    return torch.cat(parts)


def measure(
    vanilla: Path, defended: Path, *, data_dir: Path | None, limit: int, steps: int, device: torch.device
) -> dict[str, Any]:
    """All numbers, as plain values."""
    recorded = {run: json.loads((run / "config.json").read_text())["recipe"] for run in (vanilla, defended)}
    if recorded[vanilla]["data"] != recorded[defended]["data"]:
        raise SystemExit(f"{vanilla} and {defended} were trained on other data; give two runs on the same.")
    data = _load(recorded[defended]["data"], data_dir)
    chosen = data.test.take(slice(limit)).to(device)
    eps = parse_eps(recorded[defended]["audit"]["eps"])
    models = {
        "vanilla": load_model(vanilla / "model.safetensors").to(device),
        "defended": load_model(defended / "model.safetensors").to(device),
    }
    at_sites = {which: look(model, chosen.images[:_BATCH].float() / 255) for which, model in models.items()}
    ratios = {name: at_sites["defended"][name].spread / seen.spread for name, seen in at_sites["vanilla"].items()}
    accuracies = {}
    for which, model in models.items():
        clean = torch.cat([judge(model, images).argmax(1) == labels for images, labels in chosen.batches(_BATCH)])
        own = attacked(model, chosen, Crafting(), eps, steps)
        widened = attacked(model, chosen, Crafting(source=Widened(ratios)), eps, steps)
        found = {"clean": clean, "own": own, "widened": widened, "either": own & widened}
        accuracies[which] = {name: 100 * right.float().mean().item() for name, right in found.items()}
    return {
        "eps": eps,
        "images": len(chosen),
        "steps": steps,
        "ratios": ratios,
        "sites": {
            which: {name: dataclasses.asdict(at) for name, at in seen.items()} for which, seen in at_sites.items()
        },
        "accuracies": accuracies,
        "gain": accuracies["defended"]["own"] - accuracies["vanilla"]["own"],
        "loophole": _drop(accuracies["defended"]) - _drop(accuracies["vanilla"]),
    }


def _drop(accuracies: dict[str, float]) -> float:
    return accuracies["own"] - accuracies["either"]


def _load(recorded: dict[str, Any], data_dir: Path | None) -> Data:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in recorded.items()}
    return DataConfig(**values).load(data_dir)


def show(found: dict[str, Any]) -> None:
    """The two tables and the sentence."""
    print(f"{'site':12} {'network':9} {'BN gain':>8} {'spread':>7} {'Omega':>7} {'Omega 1 sd':>11} {'ratio':>6}")
    for name, ratio in found["ratios"].items():
        for which in ("vanilla", "defended"):
            at = found["sites"][which][name]
            gain = "-" if at["gain"] is None else f"{at['gain']:.3f}"
            tail = f"{ratio:6.2f}" if which == "defended" else ""
            omegas = f"{at['omega']:7.3f} {at['omega_of_spread']:11.3f}"
            print(f"{name:12} {which:9} {gain:>8} {at['spread']:7.3f} {omegas} {tail}")
    print(f"\nPGD-{found['steps']} at {found['eps']:.4f} on {found['images']} test images, accuracy in %")
    print(f"{'network':9} {'clean':>7} {'own':>7} {'widened':>8} {'either':>7}")
    for which, row in found["accuracies"].items():
        print(f"{which:9} {row['clean']:7.1f} {row['own']:7.1f} {row['widened']:8.1f} {row['either']:7.1f}")
    gain, loophole = found["gain"], found["loophole"]
    print(
        f"\nprotocol gain {gain:+.1f} points; the widened surrogate takes {loophole:.1f} more from the defended network"
    )
    if gain > 0:
        print(f"the loophole's share: {100 * loophole / gain:.0f} %")


def main() -> None:
    """Measure and print; with --json also as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vanilla", type=Path)
    parser.add_argument("defended", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(
        asked.vanilla,
        asked.defended,
        data_dir=asked.data_dir,
        limit=asked.limit,
        steps=asked.steps,
        device=pick_device(asked.device),
    )
    show(found)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
