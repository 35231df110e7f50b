"""Dose and response: one number of a recipe at several values, and what it does to the network, as a picture.

    python examples/dose.py demo-digits-mpd-sgr mpd_sgr.eta 0 0.5 1 2 4          # a minute; into runs/dose
    python examples/dose.py demo-digits-tgo tgo.sigma 0 0.1 0.2 0.5 1

On the left accuracy: clean, under FGSM and PGD-7, and the worst case of the recipe's battery, on validation images. On
the right what the network's potentials do: the share of them in the surrogate's window as it is, and Omega, which takes
them for normal (means over sites); and the share of images whose whole gradient is zero. The same numbers are printed.
Killed and started again it goes on where it was; what is there is not done again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt

import spikeproof as sp
from spikeproof.engine import Circumstances, InProcess, NamedStore, TablePlan, compare
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import Recipe, find_recipe, load_run
from spikeproof.report import SavedRun
from spikeproof.tables import comparison

ATTACKS = ("FGSM", "PGD-7")
ACCURACIES = ("clean", *ATTACKS, "worst case")
SHARES = ("in the window", "Omega", "zero gradients")


def dose(recipe: Recipe, field: str, values: Sequence[float], out: Path) -> list[dict[str, float]]:
    """Train and audit the recipe at each value, and draw; a row of numbers for each.

    Args:
        field: where in the recipe the number is, such as "mpd_sgr.eta".

    Raises:
        SpikeproofError: a field that is no number of the recipe, a value that it refuses, or a row that failed.
    """
    doses = [_with(_audited(recipe), field.split("."), value, field) for value in values]
    named = [
        dataclasses.replace(each, name=f"{recipe.name}-{field}-{value:g}")
        for value, each in zip(values, doses, strict=True)
    ]
    runs, failed = compare(
        TablePlan.of(comparison("dose", named), seeds=(recipe.train.seed,)),
        InProcess(),
        Circumstances(NamedStore(out), command=" ".join(sys.argv)),
    )
    if failed:
        raise SpikeproofError(f"{next(iter(failed)).label} failed: {next(iter(failed.values()))}")
    rows = [{field: value} | _response(*each) for value, each in zip(values, runs.values(), strict=True)]
    _draw(rows, field, recipe.name, out / f"{recipe.name}-{field}.png")
    return rows


def _audited(recipe: Recipe) -> Recipe:
    """On validation images, as doses are there to be chosen; without curves, with the attacks of the picture."""
    audit = recipe.audit
    trials = (*audit.trials, *(name for name in ATTACKS if name not in audit.trials))
    return dataclasses.replace(recipe, audit=dataclasses.replace(audit, split="validation", trials=trials, sweep=()))


def _with(part: Any, path: list[str], value: float, field: str) -> Any:
    """The dataclass with the number at this path replaced."""
    defenses = {defense.field: defense for defense in part.defenses} if isinstance(part, Recipe) else {}
    if path[0] in defenses and path[1:]:
        return part.having(_with(defenses[path[0]], path[1:], value, field))
    held = getattr(part, path[0], None)
    if len(path) > 1 and dataclasses.is_dataclass(held):
        return dataclasses.replace(part, **{path[0]: _with(held, path[1:], value, field)})
    if len(path) > 1 or isinstance(held, bool) or not isinstance(held, int | float):
        raise SpikeproofError(f"{field} is no number of this recipe; give a field such as mpd_sgr.eta that it has.")
    return dataclasses.replace(part, **{path[0]: type(held)(value)})


def _response(run: SavedRun) -> dict[str, float]:
    audit = run.audit
    assert audit is not None
    own = {trial.name: trial.own.accuracy for trial in audit.trials if trial.own is not None}
    clean = next(trial.own for trial in audit.trials if trial.kind == "clean")
    assert clean is not None
    model, data = load_run(run.folder, None)
    part = data.validation.take(data.validation.part(audit.samples))
    sites = sp.describe_sites(model, part.images.float() / 255)
    return {
        "n": audit.samples,
        "clean": clean.accuracy,
        **{name: own[name] for name in ATTACKS},
        "worst case": float("nan") if audit.no_number else audit.worst_case.accuracy,
        "in the window": fmean(site.window_share for site in sites),
        "Omega": fmean(site.omega for site in sites),
        "zero gradients": audit.zero_gradient_share,
    }


def _draw(rows: list[dict[str, float]], field: str, name: str, picture: Path) -> None:
    fig, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axes, shown, label in zip(panels, (ACCURACIES, SHARES), ("accuracy", "share"), strict=True):
        for key in shown:
            axes.plot([row[field] for row in rows], [row[key] for row in rows], marker=".", label=key)
        axes.set(xlabel=field, ylabel=label, ylim=(-0.02, 1.02))
        axes.legend(fontsize=8)
    fig.suptitle(f"{name}, {rows[0]['n']} validation images")
    fig.savefig(picture, dpi=110)
    plt.close(fig)


def main(name: str, field: str, *values: str) -> None:
    rows = dose(find_recipe(name), field, [float(value) for value in values], Path("runs/dose"))
    print("  ".join(f"{key:>14}" for key in rows[0]))
    for row in rows:
        print("  ".join(f"{value:14.3f}" for value in row.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
