"""BPTT: ordinary autograd through the unrolled recurrence, the hard reset included (methods of every paper here)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.gradients.source import Attached
from spikeproof.spiking import ArcTan, Drive, Rectangular, Sigmoid, Site, SuperSpike, Triangle, override_gradient, sites


@dataclasses.dataclass(frozen=True)
class Bptt:
    """Backpropagation through time with the model's own surrogate, or with ``surrogate`` at every site instead.

    With None the model is left exactly as it is, so this source also serves networks without sites.

    Example:
        >>> Bptt(Sigmoid(alpha=4.0)).name
        'BPTT Sigmoid(alpha=4.0)'
    """

    surrogate: Triangle | Rectangular | Sigmoid | SuperSpike | ArcTan | None = None

    @property
    def name(self) -> str:
        return "BPTT" if self.surrogate is None else f"BPTT {self.surrogate}"

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        if self.surrogate is None:
            yield Attached()
            return
        with override_gradient(model, dict.fromkeys(sites(model), self._fire)):
            yield Attached()

    def _fire(self, site: Site, drive: Drive, *, pooled: bool) -> Float[Tensor, "t n *space c"]:
        return site.fire(drive, surrogate=self.surrogate, pooled=pooled).spikes
