"""What files from before the 30th of November 2026 call by other names: read as today's, and addressed as ever.

Then ``eps`` was ``radius``, ``decay`` was ``leak``, ``protocol`` was ``nominal``, and ``eot_iter`` was ``draws``. No
file is written by these names any more. Addresses of results and names of audits are still made from them, so that
nothing is computed twice.
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


def todays(held: Any) -> Any:
    """A value that JSON knows, with the names of fields, and of kinds of trials, as they are today.

    Example:
        >>> todays({"threat": {"radius": 0.1}, "trials": [{"kind": "nominal"}], "feel": {"leak": True}})
        {'threat': {'eps': 0.1}, 'trials': [{'kind': 'protocol'}], 'feel': {'leak': True}}
    """
    if isinstance(held, Mapping):
        return {todays_name(name): _part(name, part) for name, part in held.items()}
    return [todays(part) for part in held] if isinstance(held, list) else held


def _part(name: str, part: Any) -> Any:
    if name == "kind":
        return _TODAY.get(part, part) if isinstance(part, str) else part
    if name in _KEEPS_ITS_LEAK and isinstance(part, Mapping):
        return dict(part)
    if name == "frozen" and isinstance(part, list):
        return [todays_name(each) if isinstance(each, str) else each for each in part]
    return todays(part)


def todays_name(name: str) -> str:
    """The name of a field or, with dots, of what a site has.

    Example:
        >>> todays_name("body.0.leak"), todays_name("body.0.gain")
        ('body.0.decay', 'body.0.gain')
    """
    place, dot, last = name.rpartition(".")
    return f"{place}{dot}{_TODAY.get(last, last)}"


def todays_tensors(held: Mapping[str, _Tensors]) -> dict[str, _Tensors]:
    """Weights under the names that today's networks have for them."""
    return {todays_name(name): tensor for name, tensor in held.items()}


def former_audit(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An audit's settings under the names by which audits are called and addressed.

    Example:
        >>> former_audit({"eps": 0.1, "eot_iter": None, "seed": 0})
        {'radius': 0.1, 'draws': None, 'seed': 0}
    """
    return _renamed(settings, {"eps": "radius", "eot_iter": "draws"})


def former_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings under the names by which networks are addressed.

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


def _renamed(held: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in held.items()}
