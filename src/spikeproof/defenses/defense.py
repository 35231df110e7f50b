"""What a defense is: a small object whose hooks change training. A recipe lists defenses, and lists compose."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Record


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a defense wants each site to record in the training forward."""

    moments: bool = False
    hinge_width: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defense:
    """A defense that does nothing; each real one overrides the hooks it has a use for."""

    @property
    def label(self) -> str:
        """How metrics and tables call it."""
        return type(self).__name__

    @property
    def needs(self) -> Needs:
        return Needs()

    @property
    def perturbs(self) -> bool:
        """Whether it replaces the training batch; at most one defense of a list may."""
        return False

    def install(self, model: nn.Module) -> None:
        """Change the model once, before training."""

    def perturb(
        self, model: nn.Module, images: Float[Tensor, "n c h w"], labels: Int64[Tensor, " n"], seed: int
    ) -> Float[Tensor, "n c h w"]:
        """The batch to train on."""
        raise NotImplementedError

    def penalty(self, record: Record, progress: float) -> Float[Tensor, ""] | None:
        """A term of the loss; ``progress`` is the share of training done, in [0, 1)."""
        return None


def compose(defenses: Sequence[Defense]) -> Needs:
    """Check that the defenses work together; returns what they need recorded.

    Raises:
        SpikeproofError: the same defense twice, two that replace the batch, or two hinges of different width.
    """
    kinds = [type(defense) for defense in defenses]
    for kind in set(kinds):
        if kinds.count(kind) > 1:
            raise SpikeproofError(f"{kind.__name__} is listed twice; list each defense once.")
    perturbing = [defense.label for defense in defenses if defense.perturbs]
    if len(perturbing) > 1:
        raise SpikeproofError(f"{' and '.join(perturbing)} both replace the training batch; keep one of them.")
    widths = {need.hinge_width for need in (d.needs for d in defenses) if need.hinge_width is not None}
    if len(widths) > 1:
        raise SpikeproofError(f"Two defenses ask for hinges of different widths {sorted(widths)}; give them one width.")
    return Needs(moments=any(defense.needs.moments for defense in defenses), hinge_width=next(iter(widths), None))
