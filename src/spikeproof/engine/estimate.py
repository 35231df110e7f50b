"""How long a task takes, roughly: arithmetic over a rate, which the runs that are there already correct."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from spikeproof.audit import AuditConfig
from spikeproof.data.public_sets import PUBLIC_SETS
from spikeproof.engine.store import Store
from spikeproof.engine.task import Task
from spikeproof.machine.precision import for_verdicts, resolved
from spikeproof.models import multiply_accumulates
from spikeproof.recipes import Recipe
from spikeproof.runs import RunFolder

# Forward multiply-accumulates a second, in training: on one CPU core about as measured (docs/performance.md); on a GPU
# a guess, as none was measured.
_RATES = {"cpu": 40e9, "cuda": 20e12}
# What fp32 takes beside bf16 (docs/auditing.md), in which the rates were measured.
_FP32 = 2.0
# A gradient of an image beside a whole training step.
_ATTACK_STEP = 0.45
# Most samples fall to the first attacks of a battery.
_STILL_CHASED = 0.4


def hours(tasks: Sequence[Task], store: Store, device: str, correction: float = 1.0) -> list[float]:
    """What is still to do of each task, in hours on one core or GPU; a network is trained for the first that has it.

    Args:
        tasks: those that are done take no time.
        store: where results lie.
        device: "cpu" or "cuda".
        correction: a factor; see :func:`correction`.
    """
    estimates = []
    trained: set[str] = set()
    for task in tasks:
        done = task.key in trained or store.trained(task.recipe)
        seconds = 0.0 if done else _training_seconds(task.recipe, device)
        trained.add(task.key)
        for audit in task.audits:
            if not (store.audit(task.recipe, audit) / "audit.json").exists():
                seconds += _audit_seconds(task.recipe, audit.config, device)
        estimates.append(seconds * correction / 3600)
    return estimates


def correction(tasks: Iterable[Task], store: Store, device: str) -> float:
    """Measured over estimated training seconds of the tasks that are trained, without compiling; 1 where none is.

    Args:
        tasks: some of them may be trained.
        store: where results lie.
        device: networks that were trained on another one do not count.
    """
    measured = estimated = 0.0
    for task in tasks:
        if store.trained(task.recipe) and RunFolder(store.network(task.recipe)).config()["device"] == device:
            measured += sum(line["seconds"] for line in RunFolder(store.network(task.recipe)).metrics())
            estimated += _training_seconds(task.recipe, device)
    return measured / estimated if estimated else 1.0


def training_costs(recipes: Sequence[Recipe], device: str = "cpu") -> dict[str, float]:
    """What training each recipe costs by estimate, by its name, in units of the first.

    Args:
        recipes: at least one.
        device: "cpu" or "cuda".

    Example:
        >>> from spikeproof.recipes import find_recipe
        >>> training_costs([find_recipe("mini-cifar10-vanilla"), find_recipe("mini-cifar10-at")])
        {'mini-cifar10-vanilla': 1.0, 'mini-cifar10-at': 1.45}
    """
    seconds = {recipe.name: _training_seconds(recipe, device) for recipe in recipes}
    first = seconds[recipes[0].name]
    return {name: each / first for name, each in seconds.items()}


def _training_seconds(recipe: Recipe, device: str) -> float:
    factor = math.prod(defense.step_cost for defense in recipe.defenses)
    factor *= _FP32 if resolved(recipe.train.precision, device) == "fp32" else 1.0
    images = recipe.train.epochs * _train_images(recipe)
    return _macs(recipe) * images * factor / _RATES[device]


def _audit_seconds(recipe: Recipe, config: AuditConfig, device: str) -> float:
    passes = sum(trial.cost * (1.0 if config.attacks_all(trial) else _STILL_CHASED) for trial in config.members())
    passes *= _FP32 if for_verdicts(config.precision) == "fp32" else 1.0
    samples = config.samples or 10_000
    macs = _macs(recipe) * samples * (config.eot_iter or 1)
    return macs * passes * _ATTACK_STEP / _RATES[device]


def _train_images(recipe: Recipe) -> int:
    """How many images a recipe trains on, as far as that is known without opening the data."""
    if recipe.data.train_limit is not None:
        return recipe.data.train_limit
    known = PUBLIC_SETS.get(recipe.data.name)
    whole = 1000 if known is None else known.train_images
    kept = 1.0 if known is None or recipe.data.classes is None else len(recipe.data.classes) / known.num_classes
    return max(1, round(whole * kept) - (recipe.data.validation or 0))


def _macs(recipe: Recipe) -> float:
    """Multiply-accumulates of one image through all T steps; of data that nobody knows beforehand one of 32 pixels."""
    known = PUBLIC_SETS.get(recipe.data.name)
    return multiply_accumulates(
        recipe.model.name,
        num_classes=len(recipe.data.classes or ()) or (10 if known is None else known.num_classes),
        num_steps=recipe.model.num_steps,
        width=recipe.model.width,
        image_size=32 if known is None else known.image_size,
    )
