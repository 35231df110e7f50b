"""ReLU transfer: the gradient of the ordinary network with the same weights, whose neurons are ReLUs ("Act").

Source: the "ANN" gradient of SNN-RAT (Ding et al. 2022) and of Ozdenizci and Legenstein (2024). The loss is of the
ReLU network's logits; the spiking network decides whether a sample is broken. Deviation: currents are divided by the
threshold, which is 1 in the originals.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.gradients.named import Named
from spikeproof.gradients.rate import through_one_copy
from spikeproof.gradients.source import Attached
from spikeproof.interop import ForeignSite
from spikeproof.spiking import Drive, Site, override_gradient, sites


@dataclasses.dataclass(frozen=True)
class ReluTransfer:
    """The gradient of a ReLU network: every neuron is max(0, x / threshold) of one copy of the input, without time.

    Raises:
        SpikeproofError: on attaching, a model without sites.

    Example:
        >>> ReluTransfer().name
        'ReLU'

    Source: Ding et al. 2022 (SNN-RAT), there "ANN". Deviation: currents are divided by the threshold, 1 there.
    """

    @property
    def name(self) -> str:
        """ "ReLU"."""
        return "ReLU"

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context in which the loss is of the ReLU network's logits; see :meth:`GradientSource.attach`."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("ReLU transfer needs spiking sites and this model has none; use BPTT instead.")
        with override_gradient(model, dict.fromkeys(watched, _ReluOrSpikes())):
            yield _AttachedRelu(list(watched.values()))


class _ReluOrSpikes:
    """A ReLU for the one copy; in the spiking forward, the neuron."""

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Tensor:
        if not site.collapsed:
            return site.fire(drive, pooled=pooled).spikes
        current = drive.values
        if drive.scale is not None and drive.shift is not None:
            current = (current * drive.scale + drive.shift).to(drive.values.dtype)
        if drive.gain is not None:
            current = (current * drive.gain.mean(0)).to(drive.values.dtype)
        rate = (current / site.neuron.threshold).relu()
        return rate.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)) if pooled else rate

    def output(self, site: ForeignSite, current: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (current / site.neuron.threshold).relu()


class _AttachedRelu(Attached):
    def __init__(self, watched: list[Site]) -> None:
        self._watched = watched

    def forward(
        self, call: Callable[[Tensor], Tensor], images: Float[Tensor, " n *chw"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The spiking logits, and those of the ReLU network."""
        with torch.no_grad():
            logits = call(images)
        return logits, through_one_copy(self._watched, call, images)


NAMED = (Named(name="RELU", make=lambda tuned: ReluTransfer()),)
