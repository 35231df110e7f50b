"""MPD-SGR (Jiang et al., AAAI 2026): regularise the membrane potential distribution out of the surrogate's window.

Eq. 13, 16-18. The paper leaves eta and the handling of the statistics open (its Appendix C is unpublished); by default
mean and standard deviation are the batch's, over samples and positions at each step and channel, and stay in the graph,
since Eq. 14-15 are stated as the training gradient. For a fully connected site a channel is a feature. Layers are
averaged with equal weight, and so are the channels and steps of each. Ours too is the warm-up.

The paper's window has a fixed width, so a larger batch-norm gain alone moves potentials out of it. The widths "spread"
and "attack" are ours and follow the network instead; the class says what each does not count.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.attack_width import AttackWidth, check_factor
from spikeproof.defenses.defense import Defense, Needs, Step
from spikeproof.defenses.which_sites import CHANNELS, Dose, Which, check_which, chosen
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import SiteRecord, joint_moments
from spikeproof.threat import Eps, parse_eps

_CHOICES = {
    "sites": ("normed", "all"),
    "dose": ("mean", "channel"),
    "statistics": ("attached", "detached-std"),
    "potential": ("before-reset", "after-reset"),
    "width": ("surrogate", "spread", "attack"),
}


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class MPDSGR(Defense):
    """L = CE + eta * mean over sites, channels and steps of Omega, with, for margins ~ N(mu, sd^2) and window g::

        Omega = Phi((mu + g) / sd) - Phi((mu - g) / sd)

    the share of potentials under the surrogate. By ``width`` the window g is ``factor`` times

    - "surrogate": the surrogate's own: gamma for the triangle, gamma/2 for the rectangle, and for surrogates without an
      end the half-width of the triangle of equal peak and mass (see :mod:`spikeproof.spiking.surrogate`).
    - "spread": sd itself. Omega = Phi(mu/sd + k) - Phi(mu/sd - k) and its gradient then see margins only up to a common
      factor: gain and threshold times c change nothing, and mu dOmega/dmu + sd dOmega/dsd = 0. A larger gain alone does
      count, by mu/sd = mean(u)/sd(u) - threshold/sd(u): for a mean potential below the threshold it raises Omega, where
      the fixed window's falls. What lowers it is a mean far from the threshold in spreads, so too large an eta now
      silences channels by small gains.
    - "attack": the root mean square of the change that FGSM causes in each channel's margins, measured while training
      (see :mod:`spikeproof.defenses.attack_width`). Each step's gradient takes it for fixed, so it still rewards
      spread; the next measurement takes that back as far as changes grow with the gain.

    Args:
        eta: weight, >= 0. Not published. 2 to 3 cost VGG11 at an eighth to a quarter of its width 2 points of clean
            accuracy on CIFAR-10, as in the paper's Table 1; too large an eta silences the layers.
        warmup: share of training, in [0, 1), over which eta rises linearly from 0; 0 is the paper's, which has none.
        sites: "normed", those behind a batch norm, or "all". The paper's theory is of tdBN layers. A fully connected
            site without a norm gets many times the pull of Omega that it gets of the loss, and falls silent.
        dose: how Omega's terms are added up over a layer's channels. "mean" is the paper's: with twice the channels
            each is pulled half as hard, against the same weight decay. "channel" divides by 64 instead, whatever the
            layer has, so that an eta found on a narrow network does the same on a wide one.
        statistics: "attached" or "detached-std": then sd is taken for fixed and mu alone is moved (Eq. 14 without 15).
        potential: "before-reset", where the surrogate is taken, or "after-reset".
        width: see above.
        factor: of the window, > 0.
        attack_eps, every: the attack's radius and the training steps between measurements, for "attack" alone.

    Raises:
        SpikeproofError: eta < 0, a warm-up outside [0, 1), an unknown choice, or a factor, radius or ``every`` that is
            not positive.

    Example:
        >>> MPDSGR(eta=2.0, width="spread").label
        'MPD-SGR'

    Source: Jiang et al. 2026 (AAAI), Eq. 13 and 16-18. Ours: eta, the warm-up, which statistics (the batch's, in the
    graph), and the widths "spread" and "attack".
    """

    label: ClassVar[str] = "MPD-SGR"

    eta: float = 2.0
    warmup: float = 0.4
    sites: Which = "normed"
    dose: Dose = "mean"
    statistics: Literal["attached", "detached-std"] = "attached"
    potential: Literal["before-reset", "after-reset"] = "before-reset"
    width: Literal["surrogate", "spread", "attack"] = "surrogate"
    factor: float = 1.0
    attack_eps: Eps = 2 / 255
    every: int = 10

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eta) and self.eta >= 0):
            raise SpikeproofError(f"MPD-SGR's eta must be a number >= 0, got {self.eta}.")
        if not 0 <= self.warmup < 1:
            raise SpikeproofError(f"MPD-SGR's warmup is a share of training in [0, 1), got {self.warmup}.")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise SpikeproofError(
                    f"MPD-SGR's {field} is one of {', '.join(choices)}, not {getattr(self, field)!r}."
                )
        check_factor("MPD-SGR", self.factor)
        object.__setattr__(self, "attack_eps", parse_eps(self.attack_eps))
        self._attack()

    @property
    def step_cost(self) -> float:
        return 1.75 if self.width == "attack" else 1.2

    @property
    def needs(self) -> Needs:
        return Needs(moments=True, after_reset=self.potential == "after-reset")

    @property
    def whole_batch(self) -> bool:
        return self.width == "attack"

    def install(self, model: nn.Module) -> None:
        """Refuse a model that has no site to regularise."""
        check_which("MPD-SGR", self.sites, model)

    def begin(self, step: Step) -> None:
        """Measure the attack's changes, for "attack"."""
        if self.width == "attack":
            self._attack().measure(step)

    def penalty(self, step: Step) -> Float[Tensor, ""]:
        """eta times the mean of Omega."""
        rise = min(1.0, step.progress / self.warmup) if self.warmup else 1.0
        record = chosen(step.record, self.sites)
        records = list(record.values())
        mean, std = joint_moments(records)
        channels = [_channels(site) for site in records]
        if self.statistics == "detached-std":
            std = std.detach()
        window: Tensor
        if self.width == "surrogate":
            window = _by_channel([site.window for site in records], channels, mean)
        else:
            window = std if self.width == "spread" else self._attack().widths(step, record)
        shared = [CHANNELS if self.dose == "channel" else wide for wide in channels]
        weights = _by_channel([1 / (len(records) * len(mean) * wide) for wide in shared], channels, mean)
        return self.eta * rise * (overlap(mean, std, self.factor * window) * weights).sum()

    def _attack(self) -> AttackWidth:
        return AttackWidth(owner=type(self).__name__, eps=parse_eps(self.attack_eps), every=self.every)


def overlap(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], window: float | Float[Tensor, "*fewer"]
) -> Float[Tensor, "*shape"]:
    """Omega of Eq. 13: the mass of N(mean, std^2) in [-window, window].

    Args:
        mean, std: of the margins; std > 0.
        window: half-width, in units of the potential; broadcasts.

    Example:
        >>> overlap(torch.tensor(-0.5), torch.tensor(0.5), 1.0)
        tensor(0.8400)
    """
    return torch.special.ndtr((mean + window) / std) - torch.special.ndtr((mean - window) / std)


def _channels(site: SiteRecord) -> int:
    assert site.total is not None  # joint_moments has refused others
    return site.total.shape[1]


def _by_channel(values: Sequence[float | Tensor], channels: list[int], like: Tensor) -> Float[Tensor, " c"]:
    """A value of each site, for each of its channels; all sites at once, as they are small."""
    fixed = tuple(value for value in values if not isinstance(value, Tensor))
    if len(fixed) == len(values):
        return _fixed_by_channel(fixed, tuple(channels), like.device)
    parts = [value if isinstance(value, Tensor) else torch.full((), value, device=like.device) for value in values]
    return torch.cat([part.float().expand(wide) for part, wide in zip(parts, channels, strict=True)])


@functools.cache
def _fixed_by_channel(values: tuple[float, ...], channels: tuple[int, ...], device: torch.device) -> Tensor:
    """Built once, since a step that builds it anew waits for the GPU."""
    with torch.inference_mode(False):
        return torch.tensor(values).repeat_interleave(torch.tensor(channels)).to(device)
