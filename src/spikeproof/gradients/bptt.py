"""BPTT: ordinary autograd through the unrolled recurrence, the hard reset included (methods of every paper here)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.checked import told
from spikeproof.errors import SpikeproofError
from spikeproof.gradients.named import Named
from spikeproof.gradients.source import Attached
from spikeproof.interop import ForeignSite
from spikeproof.spiking import (
    Drive,
    Exponential,
    Rectangular,
    Site,
    StraightThrough,
    Surrogate,
    Triangle,
    override_gradient,
    parse_surrogate,
    sites,
)


@dataclasses.dataclass(frozen=True)
class BPTT:
    """Backpropagation through time with the model's own surrogate, or with another one at every site.

    Args:
        surrogate: h(v) for all sites. None leaves the model exactly as it is, so it serves networks without sites too.

    Raises:
        SpikeproofError: something else than a surrogate; on attaching, another surrogate for a model without sites.

    Example:
        >>> from spikeproof.spiking import Sigmoid
        >>> BPTT(Sigmoid(alpha=4.0)).name
        'BPTT Sigmoid(alpha=4.0)'

    Source: ordinary autograd (Werbos 1990); the surrogates' sources are in :mod:`spikeproof.spiking.surrogate`.
    """

    surrogate: Surrogate | None = None

    def __post_init__(self) -> None:
        given = self.surrogate
        if given is not None and (isinstance(given, type) or not callable(given)):
            raise SpikeproofError(f"A surrogate is an object such as spikeproof.Sigmoid(4.0), got {told(given)}.")

    @property
    def name(self) -> str:
        """ "BPTT", with the surrogate that replaces the model's own."""
        return "BPTT" if self.surrogate is None else f"BPTT {self.surrogate}"

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context with the surrogate at every site, or with nothing changed; see :meth:`GradientSource.attach`."""
        if self.surrogate is None:
            yield Attached()
            return
        watched = sites(model)
        if not watched:
            raise SpikeproofError(f"{self.name} needs spiking sites and this model has none; use plain BPTT instead.")
        with override_gradient(model, dict.fromkeys(watched, _Other(self.surrogate))):
            yield Attached()


@dataclasses.dataclass(frozen=True)
class _Other:
    """A site's backward by another surrogate than its own."""

    surrogate: Surrogate

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Float[Tensor, "t n *space c"]:
        surrogate, sharpness = _by_scale(self.surrogate)
        if sharpness is not None:
            wide = torch.promote_types(drive.values.dtype, torch.float32)
            scales = torch.full((site.num_steps, 1), sharpness, dtype=wide, device=drive.values.device)
            drive = drive._replace(sharpness=scales)
        else:
            drive = drive._replace(sharpness=None)  # the site may have learned one for its own surrogate
        return site.fire(drive, surrogate=surrogate, pooled=pooled).spikes

    def slope(self, site: ForeignSite, step: int, margin: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        return self.surrogate(margin)


def _by_scale(surrogate: Surrogate) -> tuple[Surrogate, float | None]:
    """A width as a sharpness of the shape of width 1: then all widths that a sweep tries share one compiled kernel."""
    if isinstance(surrogate, Triangle | Rectangular):
        return type(surrogate)(1.0), 1 / surrogate.gamma
    return surrogate, None


NAMED = (
    Named(name="BPTT", make=lambda tuned: BPTT(), of_text=lambda text: BPTT(parse_surrogate(text, exp=Exponential))),
    Named(name="STE", make=lambda tuned: BPTT(StraightThrough())),
)
