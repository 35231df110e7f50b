"""Code of one's own: a plain loop, and an ``autograd.Function`` that turns margins into spikes.

So most networks of papers are written. Where a layer holds the function as an attribute (``self.act = ZIF.apply``), the
attribute is the seam. Where it calls ``ZIF.apply`` itself, or by a global name (``spike = ZIF.apply``), the class is,
and the layer that is running says whose call it is.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.checked import told
from spikeproof.errors import SpikeproofError
from spikeproof.interop.seam import Cross, Seam, Shared, attribute, through
from spikeproof.interop.site import Facts


class OwnCode:
    """Networks whose spikes are formed by what the user names.

    Args:
        spikes: an autograd.Function, its apply, or the name of either or of the attribute that holds it.

    Raises:
        SpikeproofError: neither.
    """

    name = "your code"

    def __init__(self, spikes: Any) -> None:
        if (function := _function_of(spikes)) is None and not isinstance(spikes, str):
            raise SpikeproofError(
                "adapt's spikes is an autograd.Function (the class, not an object of it) or the name of the "
                f"attribute by which layers hold what forms their spikes, got {told(spikes)}."
            )
        self._spikes = function or spikes

    def here(self, net: nn.Module) -> bool:
        return bool(self.seams(net))

    def seams(self, net: nn.Module) -> list[Seam]:
        if isinstance(self._spikes, str):
            found = [
                _held(label, module, self._spikes)
                for label, module in net.named_modules()
                if callable(getattr(module, self._spikes, None))
            ]
            for those in [] if found else _globals(net):
                if (function := _function_of(those.get(self._spikes))) is not None:
                    return OwnCode(function).seams(net)
            if not found:
                raise SpikeproofError(
                    f"No layer of this {type(net).__name__} has an attribute {self._spikes!r} that forms spikes; give "
                    "adapt(net, spikes=...) the name by which your layers hold it, or the autograd.Function."
                )
            return found
        held = {
            name: (label, module)
            for label, module in net.named_modules()
            for name, value in vars(module).items()
            if getattr(value, "__self__", None) is self._spikes
        }
        if held:
            return [seam for name in held for seam in OwnCode(name).seams(net)]
        names, own = _globals(net), self._spikes.apply
        shared = Shared(lambda call: _replaced(self._spikes, names, call), _first(own))
        # A layer that calls it is one of the user's own classes; those that never do are dropped at the first forward.
        return [_running(label, module, shared, own) for label, module in _own_layers(net)]

    def reset(self, net: nn.Module) -> None:
        """Nothing: a loop of one's own begins at zero itself, or is refused for keeping a state."""


def _function_of(given: Any) -> Any:
    """The autograd.Function that this is, or is the apply of; else None."""
    given = given.__self__ if isinstance(given, types.MethodType) and given.__name__ == "apply" else given
    return given if isinstance(given, type) and issubclass(given, torch.autograd.Function) else None


def _own_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of the user's own classes, with their labels."""
    return [
        (label, module)
        for label, module in net.named_modules()
        if not type(module).__module__.startswith("torch.") and type(module).forward is not nn.Module.forward
    ]


def _globals(net: nn.Module) -> list[dict[str, Any]]:
    """The global names of the code of the user's layers, and those of the modules of theirs among them."""
    classes = {kind for _, module in _own_layers(net) for kind in type(module).__mro__}
    code = [value for kind in classes for value in vars(kind).values() if isinstance(value, types.FunctionType)]
    found = {id(each.__globals__): each.__globals__ for each in code if each.__module__.split(".")[0] != "torch"}
    modules = [value for names in found.values() for value in names.values() if isinstance(value, types.ModuleType)]
    return list((found | {id(vars(each)): vars(each) for each in modules}).values())


@contextlib.contextmanager
def _replaced(function: Any, names: Sequence[dict[str, Any]], call: Callable[..., Tensor]) -> Iterator[None]:
    """The function's apply is ``call`` inside the context, by whatever global name it is called, too."""
    bound = [
        (those, name, value)
        for those in names
        for name, value in those.items()
        if isinstance(value, types.MethodType) and _function_of(value) is function
    ]
    with attribute(function, "apply", staticmethod(call)):
        try:
            for those, name, _ in bound:
                those[name] = call
            yield
        finally:
            for those, name, value in bound:
                those[name] = value


def _first(own: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Callable[[Tensor], Tensor]]]:
    return lambda margin, *others: (margin, lambda asked: own(asked, *others))


def _unknown() -> Facts:
    return Facts(threshold_is="unknown")


def _held(label: str, module: nn.Module, name: str) -> Seam:
    own, rest = getattr(module, name), [()]

    @contextlib.contextmanager
    def opened(cross: Cross) -> Iterator[None]:
        with attribute(module, name, through(cross, own, rest)):
            yield

    return Seam(label or "the network", module, _unknown, lambda margin: own(margin, *rest[0]), opened)


def _running(label: str, module: nn.Module, shared: Shared, own: Callable[..., Tensor]) -> Seam:
    return Seam(
        label or "the network",
        module,
        _unknown,
        lambda margin: shared.latest.get(module, own)(margin),
        lambda cross: shared.opened(module, cross),
    )
