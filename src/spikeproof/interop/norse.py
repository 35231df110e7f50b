"""Norse (1.1.0): the functional modules call ``threshold(v - v_th, method, alpha)``, one function for all layers.

Its neurons keep no state: it is handed along. The adjoint backward forms no surrogate and is refused.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.seam import Seam, Shared, attribute, is_of
from spikeproof.interop.site import Facts

_NEURONS = ("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell")
_FUNCTIONAL = "norse.torch.functional."


class Norse:
    """Networks with spiking cells or layers of Norse."""

    name = "Norse"

    def here(self, net: nn.Module) -> bool:
        return any(_spikes(module) for module in net.modules())

    def seams(self, net: nn.Module) -> list[Seam]:
        shared = Shared(_replaced, lambda margin, method, alpha: (margin, lambda asked: _own()(asked, method, alpha)))
        return [_seam(label, module, shared) for label, module in net.named_modules() if _spikes(module)]

    def reset(self, net: nn.Module) -> None:
        """Nothing: states are handed along and begin anew in each forward."""


def _spikes(module: nn.Module) -> bool:
    return is_of(module, "norse", *_NEURONS) and hasattr(getattr(module, "p", None), "v_th")


def _own() -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = sys.modules[f"{_FUNCTIONAL}threshold"].threshold
    return found


@contextlib.contextmanager
def _replaced(call: Callable[..., Tensor]) -> Iterator[None]:
    own = _own()
    users = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(_FUNCTIONAL) and name != f"{_FUNCTIONAL}threshold"
        if getattr(module, "threshold", None) is own
    ]
    with contextlib.ExitStack() as stack:
        for module in users:
            stack.enter_context(attribute(module, "threshold", call))
        yield


def _seam(label: str, module: nn.Module, shared: Shared) -> Seam:
    parameters = module.p
    if parameters.method == "adjoint":  # type: ignore[union-attr]
        raise SpikeproofError(
            f"{label} uses Norse's adjoint backward, which forms no surrogate at a margin; give it method='super'."
        )
    return Seam(
        label,
        module,
        lambda: _facts(module),
        lambda margin: _own()(margin, parameters.method, parameters.alpha),  # type: ignore[union-attr]
        lambda cross: shared.opened(module, cross),
    )


def _facts(module: nn.Module) -> Facts:
    neuron: Any = module
    parameters = neuron.p
    threshold = parameters.v_th - getattr(parameters, "v_reset", 0.0)
    if not type(module).__name__.startswith("LIFBox"):
        return Facts.of(threshold)  # a synapse with a current of its own makes it second order
    share = neuron.dt * parameters.tau_mem_inv
    return Facts.of(threshold, decay=1 - share, gain=share)
