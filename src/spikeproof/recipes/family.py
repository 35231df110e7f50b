"""Families of recipes: the six that each has, overrides that hold for all, and which differ in one defense."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining, Defense
from spikeproof.errors import SpikeproofError
from spikeproof.recipes.recipe import Recipe

_PARTS = ("data", "model", "train", "audit")


def family(base: Recipe, *, at: AdversarialTraining, mpd_sgr: MPDSGR, tgo: TGO, at_eps: float) -> list[Recipe]:
    """Vanilla, MPD-SGR and TGO, and each of them under adversarial training: they differ in their defenses alone.

    Args:
        base: vanilla; its name is the family's.
        at_eps: at which those with adversarial training are audited.
    """
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


def overridden(recipes: Sequence[Recipe], before: Recipe, after: Recipe) -> list[Recipe]:
    """The recipes with every field changed that differs between ``before`` and ``after``.

    Args:
        recipes: of a family.
        before, after: one of them, and what a user made of it.

    Raises:
        SpikeproofError: a name, a defense or the seed differs: these are a row's own.
    """
    alike = dataclasses.replace(after, **{part: getattr(before, part) for part in _PARTS})
    if alike != before:
        raise SpikeproofError("A comparison's rows have names and defenses of their own; override other fields only.")
    if after.train.seed != before.train.seed:
        raise SpikeproofError("A comparison's seeds are given by --seeds, not by --train.seed.")
    return [
        dataclasses.replace(
            recipe, **{part: _moved(*(getattr(each, part) for each in (recipe, before, after))) for part in _PARTS}
        )
        for recipe in recipes
    ]


def _moved(own: Any, before: Any, after: Any) -> Any:
    """``own`` with every field changed that differs between the other two, at any depth."""
    if before == after:
        return own
    if not dataclasses.is_dataclass(after) or not type(own) is type(before) is type(after):
        return after
    assert not isinstance(own, type)
    fields = [field.name for field in dataclasses.fields(after)]
    return dataclasses.replace(
        own, **{name: _moved(*(getattr(each, name) for each in (own, before, after))) for name in fields}
    )


def one_more(recipes: Sequence[Recipe]) -> list[tuple[str, str]]:
    """Pairs of recipes of which the first has one defense more, and all else alike but for its training's length.

    Args:
        recipes: of a family.

    Returns:
        The names of each pair.

    Example:
        >>> from spikeproof.recipes import COMPARISONS
        >>> one_more(COMPARISONS["mini-cifar10"][:4])[:2]
        [('mini-cifar10-at', 'mini-cifar10-vanilla'), ('mini-cifar10-mpd-sgr', 'mini-cifar10-vanilla')]
    """

    def apart(recipe: Recipe) -> tuple[object, ...]:
        train = dataclasses.replace(recipe.train, epochs=1, validate_every=1)
        return recipe.data, recipe.model, train, recipe.audit.threat

    pairs = []
    for recipe in recipes:
        own = set(recipe.defenses)
        for other in recipes:
            fewer = set(other.defenses)
            if fewer < own and len(own) == len(fewer) + 1 and apart(recipe) == apart(other):
                pairs.append((recipe.name, other.name))
    return pairs
