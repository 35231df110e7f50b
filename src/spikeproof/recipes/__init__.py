"""Recipes: named experiments, in Python."""

from spikeproof.errors import SpikeproofError
from spikeproof.names import unknown
from spikeproof.recipes.certified import certificate_folder, certify_run
from spikeproof.recipes.digits import DIGITS
from spikeproof.recipes.family import one_more, overridden
from spikeproof.recipes.mini_cifar10 import CLAIMED, MINI_CIFAR10
from spikeproof.recipes.own_audit import audit_own
from spikeproof.recipes.own_network import Adapting, is_own_network, own_network
from spikeproof.recipes.papers import PAPERS
from spikeproof.recipes.recipe import (
    Recipe,
    fitted_to_own_data,
    with_defense,
)
from spikeproof.recipes.run import audit_folder, audit_run, load_run, recorded_audit_config, train_recipe
from spikeproof.recipes.submission import check_submission, submit

COMPARISONS: dict[str, list[Recipe]] = {"demo-digits": DIGITS, "mini-cifar10": MINI_CIFAR10}

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*DIGITS, *MINI_CIFAR10, *PAPERS)}


def find_recipe(name: str) -> Recipe:
    """A recipe by name.

    Args:
        name: as `spikeproof recipes` lists it.

    Raises:
        SpikeproofError: there is none of that name.

    Example:
        >>> find_recipe("mini-cifar10-vanilla").data.name
        'cifar10'
    """
    if name not in RECIPES:
        raise SpikeproofError(unknown("recipe", name, RECIPES, "`spikeproof recipes` lists all of them."))
    return RECIPES[name]


__all__ = [
    "CLAIMED",
    "COMPARISONS",
    "DIGITS",
    "RECIPES",
    "Adapting",
    "Recipe",
    "audit_folder",
    "audit_own",
    "audit_run",
    "certificate_folder",
    "certify_run",
    "check_submission",
    "one_more",
    "find_recipe",
    "fitted_to_own_data",
    "is_own_network",
    "load_run",
    "overridden",
    "own_network",
    "recorded_audit_config",
    "submit",
    "train_recipe",
    "with_defense",
]
