"""snnTorch (1.0.0): neurons call ``spike_grad(mem - threshold)``.

The reset calls it, too, on the potential before: that is no spike, and goes past the site. Spikes fire above the
threshold, not at it. ``snntorch.utils.reset`` sees a network's direct children only; here every layer is reset.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.seam import Cross, Seam, attribute, is_of, through
from spikeproof.interop.site import Facts

_ALL_STEPS_AT_ONCE = ("LeakyParallel", "LeakyKernel", "StateLeaky", "AssociativeLeaky")
_STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh")


class SnnTorch:
    """Networks with neurons of snnTorch."""

    name = "snnTorch"

    def here(self, net: nn.Module) -> bool:
        return any(is_of(module, "snntorch", "SpikingNeuron", *_ALL_STEPS_AT_ONCE) for module in net.modules())

    def seams(self, net: nn.Module) -> list[Seam]:
        return [_seam(label, module) for label, module in net.named_modules() if _spikes(label, module)]

    def reset(self, net: nn.Module) -> None:
        for module in net.modules():
            if is_of(module, "snntorch", "SpikingNeuron"):
                for name, state in list(module.named_buffers(recurse=False)):
                    if name in _STATES:
                        setattr(module, name, torch.zeros(0, dtype=state.dtype, device=state.device))


def _spikes(label: str, module: nn.Module) -> bool:
    if is_of(module, "snntorch", *_ALL_STEPS_AT_ONCE):
        raise SpikeproofError(
            f"{label} is a {type(module).__name__}, which forms the spikes of all steps at once, so no step's "
            "potential can be seen; take a neuron that integrates step by step, such as snntorch.Leaky."
        )
    return is_of(module, "snntorch", "SpikingNeuron")


def _seam(label: str, module: nn.Module) -> Seam:
    own: Any = module.spike_grad
    resetting: Any = module.mem_reset

    @contextlib.contextmanager
    def opened(cross: Cross) -> Iterator[None]:
        def mem_reset(mem: Tensor) -> Tensor:
            with attribute(module, "spike_grad", own):
                reset: Tensor = resetting(mem)
            return reset

        with attribute(module, "spike_grad", through(cross, own)), attribute(module, "mem_reset", mem_reset):
            yield

    return Seam(label, module, lambda: _facts(module), own, opened)


def _facts(module: nn.Module) -> Facts:
    neuron: Any = module
    threshold = neuron.threshold.detach().double().mean()
    if type(module).__name__ not in ("Leaky", "Lapicque", "RLeaky"):
        return Facts(threshold, resets_apart=True)
    beta: Tensor = neuron.beta.detach()
    return Facts(threshold, decay=beta.clamp(0, 1), resets_apart=True)
