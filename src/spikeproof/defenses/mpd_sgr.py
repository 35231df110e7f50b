"""MPD-SGR (Jiang et al., AAAI 2026): regularise the membrane potential distribution out of the surrogate's window.

Eq. 13, 16-18. The paper leaves eta and the handling of the statistics open (its Appendix C is unpublished); here mean
and standard deviation are the batch's, over samples and positions at each step and channel, and stay in the graph,
since Eq. 14-15 are stated as the training gradient. For a fully connected site a channel is a feature. Layers are
averaged with equal weight, and so are the channels and steps of each.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Record, joint_moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class MPDSGR(Defense):
    """L = CE + eta * mean over sites, channels and steps of Omega, with, for margins ~ N(mu, sd^2) and window g::

        Omega = Phi((mu + g) / sd) - Phi((mu - g) / sd)

    the share of potentials under the surrogate. The window g is gamma for the triangle, gamma/2 for the rectangle,
    and for surrogates without an end the half-width of the triangle of equal peak and mass
    (see :mod:`spikeproof.spiking.surrogate`).

    Args:
        eta: weight, >= 0. Not published; too large an eta silences the layers, so watch the firing rates.
        warmup: share of training, in [0, 1), over which eta rises linearly from 0. Ours, not the paper's.

    Raises:
        SpikeproofError: eta < 0 or a warm-up outside [0, 1).

    Example:
        >>> MPDSGR(eta=0.3).label
        'MPDSGR'
    """

    eta: float = 0.3
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eta) and self.eta >= 0):
            raise SpikeproofError(f"MPD-SGR's eta must be a number >= 0, got {self.eta}.")
        if not 0 <= self.warmup < 1:
            raise SpikeproofError(f"MPD-SGR's warmup is a share of training in [0, 1), got {self.warmup}.")

    @property
    def needs(self) -> Needs:
        return Needs(moments=True)

    def penalty(self, step: Step) -> Float[Tensor, ""]:
        rise = min(1.0, step.progress / self.warmup) if self.warmup else 1.0
        return self.eta * rise * mean_overlap(step.record)


def mean_overlap(record: Record) -> Float[Tensor, ""]:
    """The mean over sites of the mean over steps and channels of Omega; all sites at once, as they are small."""
    seen = list(record.values())
    mean, std = joint_moments(seen)
    widths = [site.total.shape[1] for site in seen if site.total is not None]
    windows = torch.tensor([site.window for site in seen]).repeat_interleave(torch.tensor(widths)).to(mean.device)
    shares = torch.tensor([1 / (len(seen) * mean.shape[0] * width) for width in widths])
    weights = shares.repeat_interleave(torch.tensor(widths)).to(mean.device)
    return (overlap(mean, std, windows) * weights).sum()


def overlap(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], window: float | Float[Tensor, " c"]
) -> Float[Tensor, "*shape"]:
    """Omega of Eq. 13: the mass of N(mean, std^2) in [-window, window].

    Example:
        >>> overlap(torch.tensor(-0.5), torch.tensor(0.5), 1.0)
        tensor(0.8400)
    """
    return torch.special.ndtr((mean + window) / std) - torch.special.ndtr((mean - window) / std)
