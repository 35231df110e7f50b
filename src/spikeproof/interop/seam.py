"""A seam: the call by which one layer of a library turns margins into spikes, and how it is opened for a forward."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor, nn

from spikeproof.interop.site import Facts

# What a seam's calls go through while it is open: margins, and the library's own function of them.
Cross = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


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
    """

    label: str
    module: nn.Module
    facts: Callable[[], Facts]
    spikes_of: Callable[[Tensor], Tensor]
    opened: Callable[[Cross], contextlib.AbstractContextManager[None]]
    fires_many: bool = False


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
    """An attribute of a module or class is another one inside the context."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def is_of(module: nn.Module, package: str, *classes: str) -> bool:
    """Whether a module's class, or one that it inherits from, is one of these of a package; no import is needed."""
    return any(
        kind.__module__.split(".")[0] == package and (not classes or kind.__name__ in classes)
        for kind in type(module).__mro__
    )
