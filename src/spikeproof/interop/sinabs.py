"""sinabs (3.1.3): layers call ``spike_fn.apply(v_mem, threshold, grad_fn)``.

The default, MultiSpike, fires several spikes in a step. States lie in buffers; another batch size takes *random old
states*, so they are emptied before every forward. Layers whose names end in Squeeze take [N*T, ...].
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.interop.seam import Cross, Seam, attribute, is_of
from spikeproof.interop.site import Facts


class Sinabs:
    """Networks with layers of sinabs."""

    name = "sinabs"

    def here(self, net: nn.Module) -> bool:
        return any(is_of(module, "sinabs", "StatefulLayer") for module in net.modules())

    def seams(self, net: nn.Module) -> list[Seam]:
        return [
            _seam(label, module)
            for label, module in net.named_modules()
            if is_of(module, "sinabs", "StatefulLayer") and getattr(module, "spike_fn", None) is not None
        ]

    def reset(self, net: nn.Module) -> None:
        for module in net.modules():
            if is_of(module, "sinabs", "StatefulLayer"):
                for name, state in list(module.named_buffers(recurse=False)):
                    setattr(module, name, torch.zeros(0, dtype=state.dtype, device=state.device))


def _seam(label: str, module: nn.Module) -> Seam:
    own: Any = module.spike_fn

    @contextlib.contextmanager
    def opened(cross: Cross) -> Iterator[None]:
        class Through:
            required_states = own.required_states

            @staticmethod
            def apply(potential: Tensor, threshold: Tensor, slope: Callable[..., Tensor]) -> Tensor:
                margin = potential - threshold
                # The potential itself where nothing was added: the margin plus the threshold may round.
                return cross(
                    margin,
                    lambda asked: own.apply(potential if asked is margin else asked + threshold, threshold, slope),
                )

        with attribute(module, "spike_fn", Through):
            yield

    def spikes_of(margin: Tensor) -> Tensor:
        threshold: Any = module.spike_threshold
        spikes: Tensor = own.apply(margin + threshold, threshold, module.surrogate_grad_fn)
        return spikes

    many = getattr(own, "__name__", "") != "SingleSpike"
    return Seam(label, module, lambda: _facts(module), spikes_of, opened, fires_many=many)


def _facts(module: nn.Module) -> Facts:
    layer: Any = module
    alpha = getattr(layer, "alpha_mem_calculated", None)
    if alpha is None or getattr(module, "tau_syn", None) is not None:
        return Facts.of(layer.spike_threshold)
    decay = alpha.detach()
    gain = 1 - decay if getattr(module, "norm_input", False) else 1.0
    return Facts.of(layer.spike_threshold, decay=decay, gain=gain)
