"""In what the settings of a run differ from those that it is to go on with."""

from __future__ import annotations

import json
from typing import Any

from spikeproof.machine.precision import Precision, Resolved, for_verdicts

# Fields that came after the first runs, with what these runs meant.
_ADDED: dict[str, dict[str, Any]] = {
    "train": {"loss": "mean", "optimizer": "sgd"},
    "audit": {"transfer": ["PGD-20"], "norm": "linf"},
}


def differing_settings(
    recorded: dict[str, Any], settings: dict[str, Any], ran: Resolved | None, asked: Precision
) -> list[str]:
    """What differs, as "train.epochs: 20 then, 30 now".

    A precision of "auto" goes on in the one that the run has, so it differs from none.

    Args:
        recorded: the run's recipe; settings: today's.
        ran: what the run computes in, where that is known; asked: what it is to go on in.
    """
    now = json.loads(json.dumps(settings))
    before = _completed(_without_own_precision(recorded, now, ran), now)
    for recipe in (before, now):
        if isinstance(recipe.get("train"), dict):
            recipe["train"] = {name: value for name, value in recipe["train"].items() if name != "precision"}
    found = [] if ran is None or asked in ("auto", ran) else [f"train.precision: {ran} then, {asked} now"]
    return found + _differences(before, _with_recorded_crafting(now, before))


def differing_identity(recorded: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """The same of two of ``identity``: network, defenses and training by what they hold.

    Args:
        recorded: the run's; mine: today's.
    """
    now = json.loads(json.dumps(mine))
    found = _differences(_completed(recorded, now), now)
    # Another list of defenses says so by their names; their order alone is said where nothing else is.
    return [each for each in found if not each.startswith("order")] or found


def _without_own_precision(recorded: dict[str, Any], now: dict[str, Any], ran: Resolved | None) -> dict[str, Any]:
    """Defenses had a precision of their own once; one that equals that of training says nothing that is not said."""
    defenses = {
        name: part
        for name, part in recorded.items()
        if name not in ("train", "audit") and isinstance(part, dict) and isinstance(now.get(name), dict)
    }
    plain = {
        name: {field: value for field, value in part.items() if field != "precision"}
        for name, part in defenses.items()
        if part.get("precision") == ran and "precision" not in now[name]
    }
    return recorded | plain


def _with_recorded_crafting(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Today's settings, with the run's own precision of audits where the same or none in particular is asked for."""
    mine, theirs = now.get("audit"), before.get("audit")
    if not (isinstance(mine, dict) and isinstance(theirs, dict) and "precision" in mine and "precision" in theirs):
        return now
    asked, recorded = mine["precision"], theirs["precision"]
    if asked != "auto" and asked != for_verdicts(recorded):
        return now
    return now | {"audit": mine | {"precision": recorded}}


def _completed(recipe: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The recorded recipe with what it lacks only because it is older."""
    completed = dict(recipe)
    for part, fields in _ADDED.items():
        if isinstance(recipe.get(part), dict):
            asked = {name: value for name, value in fields.items() if name in now.get(part, {})}
            completed[part] = {**asked, **recipe[part]}
    return completed


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [d for key in keys for d in _differences(before.get(key), after.get(key), f"{prefix}{key}.")]
    return [] if before == after else [f"{prefix.rstrip('.')}: {before} then, {after} now"]
