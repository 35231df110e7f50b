"""Code of one's own: a plain loop, and an ``autograd.Function`` that turns margins into spikes.

So most networks of papers are written. Where a layer holds the function as an attribute (``self.act = ZIF.apply``), the
attribute is the seam. Where it calls ``ZIF.apply`` itself, the class is, and the layer that is running says whose call
it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
        spikes: the name of an attribute, or an autograd.Function.

    Raises:
        SpikeproofError: neither.
    """

    name = "your code"

    def __init__(self, spikes: Any) -> None:
        function = isinstance(spikes, type) and issubclass(spikes, torch.autograd.Function)
        if not function and not isinstance(spikes, str):
            raise SpikeproofError(
                "adapt's spikes is an autograd.Function (the class, not an object or its apply) or the name of the "
                f"attribute by which layers hold what forms their spikes, got {told(spikes)}."
            )
        self._spikes = spikes

    def here(self, net: nn.Module) -> bool:
        return bool(self.seams(net))

    def seams(self, net: nn.Module) -> list[Seam]:
        if isinstance(self._spikes, str):
            found = [
                _held(label, module, self._spikes)
                for label, module in net.named_modules()
                if callable(getattr(module, self._spikes, None))
            ]
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
        shared = Shared(lambda call: attribute(self._spikes, "apply", staticmethod(call)), _first(self._spikes.apply))
        # A layer that calls it is one of the user's own classes; those that never do are dropped at the first forward.
        mine = [
            (label, module)
            for label, module in net.named_modules()
            if not type(module).__module__.startswith("torch.") and type(module).forward is not nn.Module.forward
        ]
        return [_running(label, module, shared, self._spikes.apply) for label, module in mine]

    def reset(self, net: nn.Module) -> None:
        """Nothing: a loop of one's own begins at zero itself, or is refused for keeping a state."""


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
