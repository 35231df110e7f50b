"""snnTorch (1.0.0): neurons call ``spike_grad(mem - threshold)``.

The reset calls it, too, on the potential before: that is no spike, and goes past the site. Spikes fire above the
threshold, not at it. ``snntorch.utils.reset`` sees a network's direct children only; here every layer is reset.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.same import LateReset, Same, like_ours
from spikeproof.interop.seam import Cross, Seam, attribute, is_of, through
from spikeproof.interop.site import Facts
from spikeproof.interop.surrogate import TheirSurrogate
from spikeproof.spiking import Neuron
from spikeproof.spiking.surrogate import Trainable

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

    return Seam(label, module, lambda: _facts(module), own, opened, same=lambda: _same(module, own))


def _same(module: nn.Module, own: Callable[[Tensor], Tensor]) -> Same | str:
    """Leaky alone; it fires above the threshold and ours at it, which no potential of random numbers meets."""
    layer: Any = module
    kind = f"{type(module).__module__.split('.')[0]}.{type(module).__name__}"
    if kind != "snntorch.Leaky":
        return f"a {type(module).__name__} is no snntorch.Leaky"
    learned = [
        name for name in ("beta", "threshold", "graded_spikes_factor") if isinstance(getattr(layer, name), nn.Parameter)
    ]
    if learned:
        return f"it learns its {' and its '.join(learned)}, which would have no place"
    if layer.beta.numel() > 1 or layer.threshold.numel() > 1:
        return "its neurons differ in beta or threshold"
    if layer.inhibition or layer.state_quant or float(layer.graded_spikes_factor) != 1:
        return "its inhibition, state_quant or graded_spikes_factor is not the default"
    beta = min(max(float(layer.beta), 0.0), 1.0)
    if layer.reset_mechanism == "none":
        return "it has no reset"
    subtracts = layer.reset_mechanism == "subtract"
    if subtracts and (beta == 0 or not layer.reset_delay):
        return "it subtracts without reset_delay, or with a beta of 0; reset_mechanism='zero' has a counterpart"
    neuron = (LateReset if subtracts else Neuron)(
        decay=beta,
        threshold=float(layer.threshold),
        reset="soft" if subtracts else "hard",
        detach_reset=layer.reset_delay,
        surrogate=cast(Trainable, like_ours(TheirSurrogate(own))),
    )
    return Same(neuron)


def _facts(module: nn.Module) -> Facts:
    neuron: Any = module
    if type(module).__name__ not in ("Leaky", "Lapicque", "RLeaky"):
        return Facts.of(neuron.threshold, resets_apart=True)
    beta: Tensor = neuron.beta.detach()
    return Facts.of(neuron.threshold, decay=beta.clamp(0, 1), resets_apart=True)
