"""Run folders with plausible numbers, for the tests of the report room."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from spikeproof.report import SavedRun, read_runs

FLAGS = ("black box beats white box", "any image allowed leaves survivors", "zero gradients")


def wilson(accuracy: float, samples: int) -> dict[str, float]:
    """An accuracy with its 95 % Wilson bounds."""
    z = 1.959964
    centre = (accuracy + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z / (1 + z * z / samples) * math.sqrt(accuracy * (1 - accuracy) / samples + z * z / (4 * samples**2))
    return {"accuracy": accuracy, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}


def counted(correct: int, samples: int) -> dict[str, Any]:
    """A count as an accuracy with its bounds."""
    return {"correct": correct, "samples": samples} | wilson(correct / samples, samples)


def make_trial(
    name: str, kind: str, correct: int, *, clean: int, before: int, samples: int = 500, everyone: bool = True
) -> dict[str, Any]:
    """One entry of audit.json's trials, whose victims include all of the trials before it.

    Args:
        correct: samples that are right under it; with ``everyone`` its own accuracy.
        clean: samples that are right when clean; before: those that the trials before it left.
    """
    attack, _, source = name.partition("@")
    left = min(correct, before)
    attempted = samples if kind == "clean" else clean if everyone else before
    row = {"name": name, "kind": kind, "attack": attack.lower(), "source": source.lower() or "bptt", "norm": "linf"}
    row |= {"everyone": everyone, "attempted": attempted, "broken": attempted - correct, "seconds": 1.25}
    return row | {"newly_broken": before - left, "left": counted(left, samples)} | counted(correct, samples)


def make_flag(name: str, *, raised: bool = False) -> dict[str, Any]:
    """One check."""
    return {
        "name": name,
        "value": f"{name} measured 7.5 %",
        "threshold": "above 3 %",
        "raised": raised,
        "advice": f"look into {name}",
    }


def make_search(*, left: int, last: int = 3, expected: float = 2.5) -> dict[str, Any]:
    """What an audit says of a local search that has left so many."""
    curve = [[0, left + last + 4], [120, left + last], [700, left]]
    found = {"trial": "LOCAL-900", "queries": 900, "curve": [*curve, [900, left]], "last_doubling": last}
    return found | {"times": 10, "low": 1, "expected": expected, "high": 6}


def make_site(index: int, spread: float, random: np.random.Generator) -> dict[str, Any]:
    """One site whose margins are normal around -0.5 with the standard deviation ``spread``."""
    margins = random.normal(-0.5 - 0.03 * index, spread, 20_000)
    counts, edges = np.histogram(margins, bins=64, range=(-4, 4))
    return {
        "name": f"sites.{index}",
        "window": 1.0,
        "omega": float((np.abs(margins) < 1).mean()),
        "proximal_share": float((np.abs(margins) < 0.5).mean()),
        "proximal_width": 0.5,
        "firing_rate": float((margins >= 0).mean()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def make_audit(
    *,
    correct: tuple[int, int, int, int] = (431, 300, 219, 176),
    samples: int = 500,
    eps: float = 0.00784,
    spread: float = 1.0,
    sites: int = 3,
    seed: int = 0,
    everyone: bool = False,
    raised: str | None = None,
) -> dict[str, Any]:
    """audit.json: clean, FGSM, PGD-20 and ASSG counts that are right, and the same network at other radii.

    Args:
        everyone: whether the adaptive trial attacked every sample; else it has no accuracy of its own.
        raised: the one check that raised a flag.
    """
    random = np.random.default_rng(seed)
    clean, fgsm, pgd, adaptive = correct
    known = {"clean": clean, "samples": samples}
    sweep, step_sweep = [], []
    for level in (1, 2, 4, 6, 8):
        for trial, kind, count in (("PGD-20", "protocol", pgd), ("SA-PGD-100@ASSG", "adaptive", adaptive)):
            accuracy = round(128 * clean / samples * (max(count, 1) / clean) ** (level / 2)) / 128
            row = {"eps": level / 255, "trial": trial, "kind": kind, "samples": 128}
            sweep.append(row | wilson(accuracy, 128))
    for steps in (5, 20, 40):
        for attack, source, kind, count in (("PGD", "", "protocol", pgd), ("SA-PGD", "@ASSG", "adaptive", adaptive)):
            row = {"steps": steps, "trial": f"{attack}-{steps}{source}", "kind": kind}
            step_sweep.append(row | counted(min(128, round(128 * count / samples) + 20 // steps), 128))
    return {
        "version": 4,
        "samples": samples,
        "split": "test",
        "images": "5e" * 8,
        "audited_images": f"{samples:08x}" + "ab" * 4,
        "threat": {"norm": "linf", "eps": eps},
        "noise": "off",
        "eot_iter": 1,
        "judge_draws": 1,
        "battery": "reliable",
        "batch_size": 250,
        "device": "cpu",
        "machine": "AMD EPYC, AVX512",
        "crafting_precision": "bf16",
        "seed": 0,
        "seconds": 81.2,
        "command": f"spikeproof audit runs/x --battery reliable --samples {samples}",
        "trials": [
            make_trial("clean", "clean", clean, before=samples, **known),
            make_trial("FGSM", "protocol", fgsm, before=clean, **known),
            make_trial("PGD-20", "protocol", pgd, before=fgsm, **known),
            make_trial("SA-PGD-100@ASSG", "adaptive", adaptive, before=pgd, everyone=everyone, **known),
        ],
        "protocol": {"trial": "PGD-20"} | counted(pgd, samples),
        "worst_case": counted(adaptive, samples),
        "masking_gap": (pgd - adaptive) / samples,
        "zero_gradient_share": 0.0,
        "flags": [make_flag(name, raised=name == raised) for name in FLAGS],
        "warnings": [],
        "tuning": {
            "samples": 100,
            "half_mass": 0.45,
            "hart_width": 1.0,
            "tried": {"half_mass": {"0.41": 0.5, "0.45": 0.375}},
        },
        "sweep": sweep,
        "step_sweep": step_sweep,
        "sites": [make_site(index, spread, random) for index in range(sites)],
    }


def make_epochs(
    count: int = 5, *, final: float = 0.86, penalties: tuple[str, ...] = ("mpd_sgr",)
) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    random = np.random.default_rng(int(1000 * final))
    rows = []
    for epoch in range(count):
        progress = 1 - math.exp(-4 * (epoch + 1) / count)
        rows.append(
            {
                "epoch": epoch,
                "step": 157 * (epoch + 1),
                "loss": 2.3 - 2.1 * final**2 * progress + 0.03 * random.normal(),
                "penalties": dict.fromkeys(penalties, 0.5 - 0.3 * progress),
                "train_accuracy": 0.1 + (final - 0.05) * progress,
                "validation_accuracy": 0.1 + (final - 0.1) * progress + 0.008 * random.normal() if epoch % 2 else None,
                "learning_rate": 0.1 * (1 - epoch / count),
                "seconds": 12.3,
                "firing_rates": {f"sites.{i}": 0.25 - 0.1 * progress + 0.01 * i for i in range(3)},
            }
        )
    return rows


def make_pictures(samples: int = 2, eps: float = 0.00784) -> dict[str, Any]:
    """The arrays of pictures.npz: smooth colour pictures and a perturbation of full radius; sample 0 is fooled."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32] / 31
    clean = np.empty((samples, 3, 32, 32), np.uint8)
    for i in range(samples):
        blob = np.exp(-((x - random.uniform(0.3, 0.7)) ** 2 + (y - random.uniform(0.3, 0.7)) ** 2) / 0.06)
        for channel in range(3):
            ground, light = random.uniform(20, 120), random.uniform(60, 130)
            clean[i, channel] = np.clip(ground + light * blob + 30 * y, 0, 255)
    signs = random.choice([-1.0, 1.0], clean.shape)
    adversarial = np.clip(clean / 255 + eps * signs, 0, 1).astype(np.float32)
    labels = np.arange(samples) % 10
    fooled = labels.copy()
    fooled[0] = (labels[0] + 3) % 10
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    return {
        "clean": clean,
        "adversarial": adversarial,
        "labels": labels,
        "clean_predictions": labels,
        "adversarial_predictions": fooled,
        "class_names": np.array(names),
        "trial": np.array("PGD-20"),
    }


def write_run(
    folder: Path,
    *,
    name: str = "mini-cifar10-mpd-sgr",
    epochs: list[dict[str, Any]] | None = None,
    audit: dict[str, Any] | None = None,
    pictures: dict[str, Any] | None = None,
    ran: dict[str, Any] | None = None,
) -> Path:
    """Write a run folder; without ``audit`` or ``pictures`` it has none. ``ran`` changes its config."""
    folder.mkdir(parents=True)
    config = {
        "name": name,
        "recipe": {"data": {"name": "cifar10"}, "model": {"name": "vgg11", "num_steps": 4}, "train": {"epochs": 5}},
        "spikeproof": "0.1.0",
        "torch": "2.13.0+cpu",
        "python": "3.11.7",
        "device": "cpu",
        "command": f"spikeproof train {name}",
    }
    (folder / "config.json").write_text(json.dumps(config | (ran or {})), encoding="utf-8")
    rows = make_epochs() if epochs is None else epochs
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if audit is not None:
        (folder / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    if pictures is not None:
        np.savez(folder / "pictures.npz", **pictures)
    return folder


def read_one(folder: Path) -> SavedRun:
    """The run with its only audit, or without any."""
    (run,) = read_runs(folder)
    return run
