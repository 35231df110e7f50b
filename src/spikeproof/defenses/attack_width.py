"""How far a small attack moves the margins: the unit, channel by channel, for what counts as near the threshold.

Ours, after MPPD's idea (Ding et al., ICML 2024) of watching what an attack does to potentials. A potential is in danger
when an attack's change can carry it across the threshold, so a window in units of that change means the same in every
network: gain and threshold times c multiply margins, changes and window alike. Raising the gain alone also raises the
changes, and the window follows; but only from one measurement to the next, since what is measured is held fixed.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import Crafting, SteepestStep, climb, crafting, cross_entropy_of
from spikeproof.defenses.defense import Step
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Record, probe
from spikeproof.threat import Linf

# The weight of the old mean at each measurement, and on how many images of a batch it is made.
_KEPT = 0.9
_IMAGES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackWidth:
    """Keeps, in ``step.memory``, an exponential mean (0.9) of each channel's ``margin_changes``.

    Args:
        owner: the defense's name; the measurements' names in the memory begin with it.
        eps: the attack's radius in pixels of [0, 1].
        every: training steps from one measurement to the next.

    Raises:
        SpikeproofError: a radius of 0, or every < 1.

    Example:
        >>> AttackWidth(owner="mine", eps=2 / 255, every=10).every
        10
    """

    owner: str
    eps: float
    every: int

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise SpikeproofError(f"A width measured by an attack needs attack_eps > 0, got {self.eps}.")
        if self.every < 1:
            raise SpikeproofError(f"A width measured by an attack needs every >= 1 training steps, got {self.every}.")

    def measure(self, step: Step) -> None:
        """Measure where it is time; to be called in ``begin``.

        Args:
            step: the first images of its first part are used; other parts and replays measure nothing.
        """
        if step.part > 0 or step.replay > 0:
            return
        if step.count(f"{self.owner} steps") % self.every:
            return
        images, labels = step.clean[:_IMAGES], step.labels[:_IMAGES]
        for site, change in margin_changes(step.model, images, labels, self.eps, seed=step.seed).items():
            before = step.memory.get(self._named(site))
            # A mean of squares, so that a rare large change counts.
            squared = change**2 if before is None else _KEPT * before**2 + (1 - _KEPT) * change**2
            step.memory[self._named(site)] = squared.sqrt()

    def widths(self, step: Step, record: Record) -> Float[Tensor, " c"]:
        """The mean changes of some sites, their channels side by side.

        Args:
            step: its memory has the measurements.
            record: names the sites, in their order.
        """
        return torch.cat([step.memory[self._named(site)] for site in record])

    def _named(self, site: str) -> str:
        return f"{self.owner} change {site}"


def margin_changes(
    model: nn.Module, images: Float[Tensor, " n *chw"], labels: Int64[Tensor, " n"], eps: float, *, seed: int = 0
) -> dict[str, Float[Tensor, " channels"]]:
    """By site, per channel, the root mean square of v(x + delta) - v(x) over samples, positions and steps.

    delta is FGSM's on the model as it is now, in eval mode through BPTT. Random numbers are the same for both images.
    The margins are those before reset.

    Args:
        model: ours or an adapted one; left as it was.
        images: x, in [0, 1].
        labels: their classes.
        eps: radius of the attack, in pixels of [0, 1].
        seed: of all random numbers.

    Returns:
        Site name to one number for each channel, in units of the potential.

    Raises:
        SpikeproofError: a model without sites.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> margin_changes(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), 0.1)["body.0"].shape
        torch.Size([16])
    """
    threat = Linf(eps)
    with crafting(model, Crafting(seed=seed)) as craft:
        moved = climb(
            craft, images, images, SteepestStep(threat, eps), steps=1, objective=cross_entropy_of(labels, known=True)
        ).detach()
        seen: list[dict[str, Tensor]] = []
        for shown in (images, moved):
            with probe(model, "margins") as record, torch.no_grad(), private_rng():
                torch.manual_seed(seed)
                model(shown)
            seen.append({name: part.margins for name, part in record.items() if part.margins is not None})
    clean, attacked = seen
    return {
        name: (attacked[name] - margins).square().transpose(0, 2).flatten(1).mean(1).sqrt()
        for name, margins in clean.items()
    }


def check_factor(owner: str, factor: float) -> None:
    """Refuse a factor of a width that is not a positive number.

    Args:
        owner: the defense's name, for the message.
        factor: anything.

    Raises:
        SpikeproofError: it is not positive, or not finite.

    Example:
        >>> check_factor("MPD-SGR", 1.0)
    """
    if not (math.isfinite(factor) and factor > 0):
        raise SpikeproofError(f"{owner}'s factor of the window must be a positive number, got {factor}.")
