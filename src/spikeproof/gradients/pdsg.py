"""PDSG: a surrogate as wide as the potentials are spread (Lu et al. 2025, CVPR 2025).

The spread is taken over the batch. So a sample's gradient depends on its neighbours, as with no other source here.
Deviation: the spread is of the noise-free potential.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.gradients.named import Named
from spikeproof.gradients.source import Attached
from spikeproof.interop import ForeignSite
from spikeproof.spiking import Drive, Gaussian, Site, override_gradient, sites
from spikeproof.spiking.ops.reference import over_all

_UNIT = Gaussian(sigma=1.0, centre=0.5)


@dataclasses.dataclass(frozen=True)
class PDSG:
    """BPTT with h(v) = exp(-(v - s/2)^2 / (2 s^2)) / (sqrt(2 pi) s), s of each channel and step::

        s[t] = std of u[1..t] over steps, batch and positions;  1 where that is 0

    Raises:
        SpikeproofError: on attaching, a model without sites.

    Example:
        >>> PDSG().name
        'PDSG'

    Source: Lu et al. 2025 (CVPR). Deviation: s is of the potential without noise.
    """

    @property
    def name(self) -> str:
        """ "PDSG"."""
        return "PDSG"

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context in which each site takes the spread of its own potentials; see :meth:`GradientSource.attach`."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("PDSG needs spiking sites and this model has none; use the BPTT source instead.")
        with override_gradient(model, dict.fromkeys(watched, _SpreadSurrogate())):
            yield Attached()


class _SpreadSurrogate:
    """A site's backward by the spread of its potentials."""

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Tensor:
        with torch.no_grad():
            seen = site.fire(drive, want_moments=True)
            assert seen.total is not None and seen.total_of_squares is not None
            spread = running_spread(seen.total, seen.total_of_squares, drive.values[0, ..., 0].numel())
        return site.fire(drive._replace(sharpness=1 / spread), surrogate=_UNIT, pooled=pooled).spikes

    def slope(self, site: ForeignSite, step: int, margin: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        last = margin.to(torch.promote_types(margin.dtype, torch.float32)).movedim(1, -1)
        totals = site.memo.setdefault("totals", [])
        totals.append((over_all(last), over_all(last * last)))
        total, squares = (torch.stack(sums) for sums in zip(*totals, strict=True))
        sharpness = 1 / running_spread(total, squares, last[..., 0].numel())[-1]
        return (sharpness * _UNIT(sharpness * last)).movedim(-1, 1)


def running_spread(
    total: Float[Tensor, "t c"], total_of_squares: Float[Tensor, "t c"], count: int
) -> Float[Tensor, "t c"]:
    """The (unbiased) standard deviation of all steps up to each, from the sums of each step; 1 where it is 0.

    Args:
        total: the sum of ``count`` values at each step and channel.
        total_of_squares: the sum of their squares.
        count: how many values a sum holds (samples times positions).

    Example:
        >>> running_spread(torch.tensor([[4.0], [6.0]]), torch.tensor([[10.0], [20.0]]), 2).flatten()
        tensor([1.4142, 1.2910])
    """
    counts = count * torch.arange(1, len(total) + 1, device=total.device, dtype=total.dtype)[:, None]
    summed, squared = total.cumsum(0), total_of_squares.cumsum(0)
    variance = (squared - summed * summed / counts) / (counts - 1).clamp_min(1)
    # Below this share of the mean square (1e-6 in float32), a variance from sums is rounding error.
    still = variance <= 8 * torch.finfo(total.dtype).eps * squared / counts
    return torch.where(still, 1.0, variance.clamp_min(0).sqrt())


NAMED = (Named(name="PDSG", make=lambda tuned: PDSG(), adaptive=True),)
