"""A seam: the call by which one layer of a library turns margins into spikes, and how it is opened for a forward."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from spikeproof.interop.same import Same
from spikeproof.interop.site import Facts

# What a seam's calls go through while it is open: margins, and the library's own function of them.
Cross = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


def _no_counterpart() -> Same | str:
    return "only neurons of SpikingJelly and snnTorch have a counterpart here"


@dataclasses.dataclass(frozen=True)
class Seam:
    """One spiking layer as its library's file found it.

    Attributes:
        label: its name in the user's network.
        module: the layer.
        facts: what is known of its neuron.
        spikes_of: margins to spikes by the library's own function.
        opened: a context in which the layer's calls go through a ``Cross``; it leaves nothing behind.
        fires_many: whether a neuron may fire several spikes in one step.
        same: the neuron of ours that it is, or why there is none.
    """

    label: str
    module: nn.Module
    facts: Callable[[], Facts]
    spikes_of: Callable[[Tensor], Tensor]
    opened: Callable[[Cross], contextlib.AbstractContextManager[None]]
    fires_many: bool = False
    same: Callable[[], Same | str] = _no_counterpart


@runtime_checkable
class Library(Protocol):
    """What the file of one library knows."""

    name: str

    def here(self, net: nn.Module) -> bool:
        """Whether this network has layers of the library."""
        ...

    def seams(self, net: nn.Module) -> list[Seam]:
        """Its spiking layers, in order of definition.

        Raises:
            SpikeproofError: a layer of the library that has no such call.
        """
        ...

    def reset(self, net: nn.Module) -> None:
        """Zero potential everywhere, with no memory of a batch's size or graph."""
        ...


@contextlib.contextmanager
def attribute(owner: object, name: str, value: object) -> Iterator[None]:
    """An attribute of a module or class is another one inside the context; what it only inherits is so again after."""
    before, own = getattr(owner, name), name in vars(owner) or (isinstance(owner, nn.Module) and name in owner._modules)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def through(
    cross: Cross, own: Callable[..., Tensor], rest: list[tuple[Any, ...]] | None = None
) -> Callable[..., Tensor]:
    """What stands where a layer holds its function of the margin: a module for a module, else a function.

    ``rest`` is where to leave the arguments after the margin, of the last call.
    """

    def call(margin: Tensor, *others: Any) -> Tensor:
        if rest is not None:
            rest[:] = [others]
        return cross(margin, lambda asked: own(asked, *others))

    return _Through(call) if isinstance(own, nn.Module) else call


class _Through(nn.Module):
    """A module, since a layer takes no other where it had one; of a class that no library knows."""

    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self._call = call

    def forward(self, *given: Any) -> Tensor:
        return self._call(*given)


class Shared:
    """One function that many layers call: the layer that is running says whose call it is.

    Args:
        replaced: a context in which the function is another one.
        margin_of: of a call's arguments the margin, and the function of it alone.
    """

    def __init__(
        self,
        replaced: Callable[[Callable[..., Tensor]], contextlib.AbstractContextManager[None]],
        margin_of: Callable[..., tuple[Tensor, Callable[[Tensor], Tensor]]],
    ) -> None:
        self._replaced, self._margin_of = replaced, margin_of
        self._running: list[Cross] = []
        self._open = contextlib.ExitStack()
        self._users = 0
        self.latest: dict[nn.Module, Callable[[Tensor], Tensor]] = {}

    @contextlib.contextmanager
    def opened(self, module: nn.Module, cross: Cross) -> Iterator[None]:
        """The calls made while ``module`` runs, and no module inside it, go through ``cross``."""

        def mine(margin: Tensor, spikes_of: Callable[[Tensor], Tensor]) -> Tensor:
            self.latest[module] = spikes_of
            return cross(margin, spikes_of)

        hooks = (
            module.register_forward_pre_hook(lambda *_: self._running.append(mine)),
            module.register_forward_hook(lambda *_: self._left(), always_call=True),
        )
        if self._users == 0:
            self._open.enter_context(self._replaced(self._call))
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            for hook in hooks:
                hook.remove()
            if self._users == 0:
                self._running.clear()
                self._open.close()

    def _left(self) -> None:
        self._running.pop()

    def _call(self, *given: Any) -> Tensor:
        margin, spikes_of = self._margin_of(*given)
        return self._running[-1](margin, spikes_of) if self._running else spikes_of(margin)


def is_of(module: nn.Module, package: str, *classes: str) -> bool:
    """Whether a module's class, or one that it inherits from, is one of these of a package; no import is needed."""
    return any(
        kind.__module__.split(".")[0] == package and (not classes or kind.__name__ in classes)
        for kind in type(module).__mro__
    )
