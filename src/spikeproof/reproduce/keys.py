"""Content addresses: what decides a result names its folder, so nothing is done twice and nothing stale is reused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from spikeproof.audit import AuditConfig
from spikeproof.recipes import Recipe

_DIGITS = 16


def network_key(recipe: Recipe) -> str:
    """The address of the weights that a recipe gives: of data, network, defenses and training, the seed included.

    Its name and its audit decide nothing about the weights. Neither do thread count and library versions count, though
    they change roundings; they are recorded beside each result.

    Example:
        >>> from spikeproof.recipes import find_recipe
        >>> vanilla = find_recipe("mini-cifar10-vanilla")
        >>> network_key(vanilla) == network_key(dataclasses.replace(vanilla, name="another"))
        True
    """
    settings = recipe.settings()
    return _address({name: value for name, value in settings.items() if name not in ("name", "audit")})


def audit_key(network: str, config: AuditConfig, substitute: str | None = None) -> str:
    """The address of an audit of a network, by the networks' addresses and the audit's settings."""
    return _address([network, dataclasses.asdict(config), substitute])


def measure_key(network: str, measure: str, images: int) -> str:
    """The address of a measure of a network, taken on so many test images."""
    return _address([network, measure, images])


def _address(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]
