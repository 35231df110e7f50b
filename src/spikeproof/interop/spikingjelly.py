"""SpikingJelly (activation_based, 2.0.0): neurons call ``surrogate_function(h - v_threshold)``.

Its built-in surrogates go to fused operations by their class and are not called then. Any other callable has the plain
PyTorch loop call it, so an open seam puts one in their place: the same numbers on the CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.same import Same, like_ours
from spikeproof.interop.seam import Cross, Seam, attribute, is_of, through
from spikeproof.interop.site import Facts
from spikeproof.interop.surrogate import TheirSurrogate
from spikeproof.spiking import Neuron
from spikeproof.spiking.surrogate import Trainable

_FIRST_ORDER = ("IFNode", "SimpleIFNode", "LIFNode", "SimpleLIFNode", "ParametricLIFNode")
_ALL_STEPS_AT_ONCE = ("PSN", "MaskedPSN", "SlidingPSN")
_MANY = ("ILIFNode", "STBIFNode", "ActivationAwareIFNode")


class SpikingJelly:
    """Networks with layers of SpikingJelly."""

    name = "SpikingJelly"

    def here(self, net: nn.Module) -> bool:
        known = ("MemoryModule", *_ALL_STEPS_AT_ONCE)
        return any(is_of(module, "spikingjelly", *known) for module in net.modules())

    def seams(self, net: nn.Module) -> list[Seam]:
        return [_seam(label, module) for label, module in net.named_modules() if _spikes(label, module)]

    def reset(self, net: nn.Module) -> None:
        for module in net.modules():
            if _keeps_memory(module):
                module.reset()  # type: ignore[operator]


def _keeps_memory(module: nn.Module) -> bool:
    return is_of(module, "spikingjelly", "MemoryModule")


def _spikes(label: str, module: nn.Module) -> bool:
    if is_of(module, "spikingjelly", *_ALL_STEPS_AT_ONCE):
        raise SpikeproofError(
            f"{label} is a {type(module).__name__}, a parallel neuron that forms the spikes of all steps at once, so "
            "no step's potential can be seen; take a neuron that integrates step by step, such as LIFNode."
        )
    if is_of(module, "spikingjelly", *_MANY):
        raise SpikeproofError(
            f"{label} is a {type(module).__name__}, which fires several spikes in a step and has no single margin; "
            "take a neuron that fires once in a step, such as LIFNode."
        )
    return _keeps_memory(module) and isinstance(getattr(module, "surrogate_function", None), nn.Module)


def _seam(label: str, module: nn.Module) -> Seam:
    own: nn.Module = module.surrogate_function  # type: ignore[assignment]

    @contextlib.contextmanager
    def opened(cross: Cross) -> Iterator[None]:
        with attribute(module, "surrogate_function", through(cross, own)):
            yield

    return Seam(label, module, lambda: _facts(module), own, opened, same=lambda: _same(module, own))


def _same(module: nn.Module, own: nn.Module) -> Same | str:
    kind = type(module)
    if not is_of(module, "spikingjelly", *_FIRST_ORDER):
        return f"a {kind.__name__} is no neuron of one potential with one decay"
    if kind.__module__.split(".")[0] != "spikingjelly":
        return f"a {kind.__name__} may differ from the {kind.__mro__[1].__name__} that it extends"
    if isinstance(getattr(module, "w", None), Tensor):
        return f"a {kind.__name__} learns its time constant, which would have no place"
    facts, layer = _facts(module), cast(Any, module)
    neuron = Neuron(
        decay=cast(float, facts.decay),
        threshold=cast(float, facts.threshold),
        reset="soft" if layer.v_reset is None else "hard",
        detach_reset=layer.detach_reset,
        surrogate=cast(Trainable, like_ours(TheirSurrogate(own))),
    )
    return Same(neuron, cast(float, facts.gain))


def _facts(module: nn.Module) -> Facts:
    rest = getattr(module, "v_reset", None) or 0.0
    threshold = float(module.v_threshold) - rest  # type: ignore[arg-type]
    if not is_of(module, "spikingjelly", *_FIRST_ORDER):
        return Facts(threshold)
    weight = getattr(module, "w", None)  # of a learned time constant
    share = weight.detach().sigmoid() if isinstance(weight, Tensor) else _one_over(getattr(module, "tau", None))
    if share is None:
        return Facts(threshold, decay=1.0)
    return Facts(threshold, decay=1 - share, gain=share if module.decay_input else 1.0)


def _one_over(tau: float | None) -> float | None:
    return None if tau is None else 1 / tau
