"""In what the settings of a run differ from those with which it should go on."""

from __future__ import annotations

import json
from typing import Any

from spikeproof.machine.precision import Precision, Resolved, for_verdicts

# Fields that older runs lack, with the values that these runs had.
_ADDED: dict[str, dict[str, Any]] = {
    "train": {"loss": "mean", "optimizer": "sgd"},
    "audit": {"transfer": ["PGD-20"], "norm": "linf"},
}


def differing_settings(
    recorded: dict[str, Any], settings: dict[str, Any], ran: Resolved | None, asked: Precision
) -> list[str]:
    """The settings that differ, as texts like "train.epochs: 20 then, 30 now".

    A precision of "auto" takes the one that the run has, so it never differs.

    Args:
        recorded: the run's recipe.
        settings: today's.
        ran: the precision that the run computes in; None where that is unknown.
        asked: the precision that is asked for now.
    """
    now = json.loads(json.dumps(settings))
    before = _completed(_without_own_precision(recorded, now, ran), now)
    for recipe in (before, now):
        if isinstance(recipe.get("train"), dict):
            recipe["train"] = {name: value for name, value in recipe["train"].items() if name != "precision"}
    precision = [] if ran is None or asked in ("auto", ran) else [f"train.precision: {ran} then, {asked} now"]
    return precision + _differences(before, _with_recorded_crafting(now, before))


def differing_identity(recorded: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """The same for two identities (``spikeproof.train.identity``): network, defenses and training by their contents.

    Args:
        recorded: the run's.
        mine: today's.
    """
    now = json.loads(json.dumps(mine))
    differences = _differences(_completed(recorded, now), now)
    # Other defenses differ by name already; their order is named only where nothing else differs.
    return [each for each in differences if not each.startswith("order")] or differences


def _without_own_precision(recorded: dict[str, Any], now: dict[str, Any], ran: Resolved | None) -> dict[str, Any]:
    """Leave out the precision that older defenses had of their own, where it is that of the training."""
    defenses = {
        name: fields
        for name, fields in recorded.items()
        if name not in ("train", "audit") and isinstance(fields, dict) and isinstance(now.get(name), dict)
    }
    plain = {
        name: {field: value for field, value in fields.items() if field != "precision"}
        for name, fields in defenses.items()
        if fields.get("precision") == ran and "precision" not in now[name]
    }
    return recorded | plain


def _with_recorded_crafting(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Today's settings, but with the run's precision of audits where "auto" or the same is asked for."""
    mine, theirs = now.get("audit"), before.get("audit")
    if not (isinstance(mine, dict) and isinstance(theirs, dict) and "precision" in mine and "precision" in theirs):
        return now
    wanted, recorded = mine["precision"], theirs["precision"]
    if wanted != "auto" and wanted != for_verdicts(recorded):
        return now
    return now | {"audit": mine | {"precision": recorded}}


def _completed(recipe: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The recorded recipe with the fields that it lacks only because it is older."""
    completed = dict(recipe)
    for name, fields in _ADDED.items():
        if isinstance(recipe.get(name), dict):
            added = {field: value for field, value in fields.items() if field in now.get(name, {})}
            completed[name] = {**added, **recipe[name]}
    return completed


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [d for key in keys for d in _differences(before.get(key), after.get(key), f"{prefix}{key}.")]
    return [] if before == after else [f"{prefix.rstrip('.')}: {before} then, {after} now"]
