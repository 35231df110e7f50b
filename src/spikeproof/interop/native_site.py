"""A site of ours in the place of another library's layer."""

from __future__ import annotations

from spikeproof.interop.layout import Layout
from spikeproof.interop.same import Same
from spikeproof.spiking import Kernels, Site
from spikeproof.spiking.surrogate import SURROGATES


class NativeSite(Site):
    """Runs the neuron of ours that a library's is, over all steps at once; a defense may change it as any of ours.

    Args:
        label: the layer's name in the user's network.
        library: whose layer it stands for, as sentences call it.
        same: the neuron of ours, and the gain before it.
        num_steps: T.
        kernels: of neurons whose surrogate is one of ours; others run in plain PyTorch.

    Attributes:
        layout: how the layer's output holds steps and samples.
        normed: whether a batch norm drives it; None before the first forward.
    """

    label: str
    normed: bool | None = None

    def __init__(self, label: str, library: str, same: Same, num_steps: int, kernels: Kernels) -> None:
        known = isinstance(same.neuron.surrogate, tuple(SURROGATES.values()))
        super().__init__(same.neuron, num_steps, kernels if known else "reference")
        self.label, self.library, self.same = label, library, same
        self.layout: Layout | None = None

    @property
    def changed(self) -> tuple[str, ...]:
        """What a defense changed of the neuron beside tensors, so that the user's own would answer otherwise."""
        noisy = self.noise_std > 0 and self.noise_at_inference
        parts = {
            "neuron": self.neuron != self.same.neuron,
            "random_decay": self.random_decay is not None,
            "noise": noisy,
        }
        return tuple(name for name, differs in parts.items() if differs)

    @property
    def steps_differ(self) -> bool:
        """Always: the user's layers between sites run on all steps, and no single copy stands for them."""
        return True
