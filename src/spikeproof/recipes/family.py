"""The six recipes that every family has: vanilla, MPD-SGR, TGO, and each of them under adversarial training."""

from __future__ import annotations

import dataclasses

from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining, Defense
from spikeproof.recipes.recipe import Recipe


def family(base: Recipe, *, at: AdversarialTraining, mpd_sgr: MPDSGR, tgo: TGO, at_eps: float) -> list[Recipe]:
    """Six recipes that differ in their defenses alone; those with AT are audited at ``at_radius``."""
    at_audit = dataclasses.replace(base.audit, eps=at_eps)
    with_at = dataclasses.replace(base.having(at), audit=at_audit)
    return [
        _named(base, "vanilla"),
        _named(base, "mpd-sgr", mpd_sgr),
        _named(base, "tgo", tgo),
        _named(with_at, "at"),
        _named(with_at, "at-mpd-sgr", mpd_sgr),
        _named(with_at, "at-tgo", tgo),
    ]


def _named(recipe: Recipe, suffix: str, defense: Defense | None = None) -> Recipe:
    return dataclasses.replace(recipe.having(defense), name=f"{recipe.name}-{suffix}")
