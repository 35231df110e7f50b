"""Content addresses: what decides a result names its folder, so nothing is done twice and nothing stale is reused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from spikeproof.audit import AuditConfig
from spikeproof.former_names import former_recipe
from spikeproof.recipes import Recipe

_DIGITS = 16
# To be raised when the code comes to give other numbers for the same settings: then everything is done anew.
_MEANING = 2
# Settings that came after the first addresses, with what those meant: at these values they are no part of an address.
_LATER = {"train": {"optimizer": "sgd"}}


def network_key(recipe: Recipe) -> str:
    """The address of the weights that a recipe gives: of data, network, defenses and training, the seed included.

    Its name and its audit decide nothing about the weights. What changes roundings alone is left out too: device,
    threads, versions; they are recorded beside each result. So are the images themselves, which ``execute`` checks.
    A precision is addressed as it is asked: "auto" is one address, though the network that it trains is another where
    there is no bf16, and each result says which of them ran.

    Example:
        >>> import dataclasses
        >>> from spikeproof.recipes import find_recipe
        >>> vanilla = find_recipe("mini-cifar10-vanilla")
        >>> network_key(vanilla) == network_key(dataclasses.replace(vanilla, name="another"))
        True
    """
    settings = {name: _without_later(name, part) for name, part in former_recipe(recipe.settings()).items()}
    return _address({name: value for name, value in settings.items() if name not in ("name", "audit")})


def audit_key(network: str, config: AuditConfig, substitute: str | None = None) -> str:
    """The address of an audit of a network.

    Args:
        network: its address.
        config: the audit's settings. The trials that they run are a part of the address.
        substitute: the address of the network that black-box trials craft on.
    """
    trials = [trial.name for trial in config.members()]
    return _address([network, config.meaning(), trials, substitute])


def measure_key(network: str, measure: str, images: int, eps: float) -> str:
    """The address of a measure of a network.

    Args:
        network: its address.
        measure: its name.
        images: on how many test images it is taken.
        eps: the radius, of a measure that has one.
    """
    return _address([network, measure, images, eps])


def _without_later(name: str, part: Any) -> Any:
    later = _LATER.get(name)
    if later is None:
        return part
    return {field: value for field, value in part.items() if field not in later or value != later[field]}


def _address(content: Any) -> str:
    return hashlib.sha256(json.dumps([_MEANING, content], sort_keys=True).encode()).hexdigest()[:_DIGITS]
