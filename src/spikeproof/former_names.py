"""The names that files from before the 30th of November 2026 have for some fields.

There ``eps`` is ``radius``, ``decay`` is ``leak``, ``protocol`` is ``nominal``, and ``eot_iter`` is ``draws``. Such
files are read; no file is written by these names any more. Addresses of results and names of audits are still made
from them, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

_TODAY = {
    "radius": "eps",
    "draws": "eot_iter",
    "nominal": "protocol",
    "nominal_trial": "protocol_trial",
    "nominal_attack": "protocol_attack",
    "leak": "decay",
    "random_leak": "random_decay",
}
# FEEL's own option is the leak of its paper.
_KEEPS_ITS_LEAK = ("feel", "FEEL")
_Tensors = TypeVar("_Tensors")


def todays(value: Any) -> Any:
    """Rename fields, and kinds of trials, to today's names.

    Args:
        value: any JSON value. Today's names stay.

    Example:
        >>> todays({"threat": {"radius": 0.1}, "trials": [{"kind": "nominal"}], "feel": {"leak": True}})
        {'threat': {'eps': 0.1}, 'trials': [{'kind': 'protocol'}], 'feel': {'leak': True}}
    """
    if isinstance(value, Mapping):
        return {todays_name(name): _field(name, each) for name, each in value.items()}
    return [todays(each) for each in value] if isinstance(value, list) else value


def _field(name: str, value: Any) -> Any:
    if name == "kind":
        return _TODAY.get(value, value) if isinstance(value, str) else value
    if name in _KEEPS_ITS_LEAK and isinstance(value, Mapping):
        return dict(value)
    if name == "frozen" and isinstance(value, list):
        return [todays_name(each) if isinstance(each, str) else each for each in value]
    return todays(value)


def todays_name(name: str) -> str:
    """Today's name of a field, or of a parameter such as "body.0.leak", of which only the last part is renamed.

    Args:
        name: a former name or any other, which stays.

    Example:
        >>> todays_name("body.0.leak"), todays_name("body.0.gain")
        ('body.0.decay', 'body.0.gain')
    """
    module, dot, last = name.rpartition(".")
    return f"{module}{dot}{_TODAY.get(last, last)}"


def todays_tensors(weights: Mapping[str, _Tensors]) -> dict[str, _Tensors]:
    """Weights by name, under the names that today's networks have for them."""
    return {todays_name(name): tensor for name, tensor in weights.items()}


def former_audit(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rename an audit's settings to the former names, from which its folder's name and its address are made.

    Args:
        settings: by today's names.

    Example:
        >>> former_audit({"eps": 0.1, "eot_iter": None, "seed": 0})
        {'radius': 0.1, 'draws': None, 'seed': 0}
    """
    return _renamed(settings, {"eps": "radius", "eot_iter": "draws"})


def former_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a recipe's settings to the former names, from which addresses of networks are made.

    Args:
        settings: by today's names.

    Example:
        >>> former_recipe({"model": {"neuron": {"decay": 1.0}}, "ema": {"decay": 0.99}})
        {'model': {'neuron': {'leak': 1.0}}, 'ema': {'decay': 0.99}}
    """
    former = dict(settings)
    if "model" in former:
        former["model"] = {**former["model"], "neuron": _renamed(former["model"]["neuron"], {"decay": "leak"})}
    if "dlif" in former:
        former["dlif"] = _renamed(former["dlif"], {"decay": "leak"})
    return former


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in settings.items()}
