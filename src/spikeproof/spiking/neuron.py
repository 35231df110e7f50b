"""The neuron: how a current becomes spikes, as a plain description that a site runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from spikeproof.checked import check_sizes
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking.surrogate import SurrogateField, Triangle


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class Neuron:
    """The (leaky) integrate-and-fire neuron of SNN-RAT's lineage (Ding et al. 2022).

    For t = 1..T, from m[0] = 0::

        u[t] = decay * m[t-1] + x[t]            potential, before reset
        s[t] = 1[u[t] - threshold >= 0]        spike
        m[t] = (1 - s[t]) * u[t]               hard reset, or u[t] - threshold * s[t] for a soft one

    The backward uses ``surrogate`` for ds/du. By default it also runs through the s[t] of the reset, as these papers'
    code does (``detach_reset=False``): dm/du = (1 - s) - u h(v).

    The defaults are those of the code behind MPD-SGR's and TGO's baselines: decay 1.0 (so, strictly, an IF neuron),
    threshold 1, hard reset, not detached, triangle of half-width 1.

    ``carries_noise`` says where a site's firing noise goes: into the potential, where it stays (NDL, and TGO if asked),
    or, by default, into the firing decision alone (NLIF).

    Raises:
        SpikeproofError: decay outside [0, 1], a threshold that is not positive, or another reset.

    Example:
        >>> Neuron(decay=0.5).threshold
        1.0

    Source: the code of SNN-RAT (Ding et al. 2022).
    """

    decay: float = 1.0
    """What is kept of the potential from step to step; 1 keeps all."""
    threshold: float = 1.0
    """Where a neuron fires."""
    reset: Literal["hard", "soft"] = "hard"
    """To zero, or by the threshold."""
    detach_reset: bool = False
    """Whether the backward leaves out the reset."""
    surrogate: SurrogateField = Triangle()
    """The backward of a spike."""
    carries_noise: bool = False
    """Whether firing noise stays in the potential."""

    @property
    def reset_by(self) -> float | None:
        """What a soft reset takes off, where that is not the threshold."""
        return None

    def __post_init__(self) -> None:
        check_sizes("A neuron", vars(self))
        if not 0 <= self.decay <= 1:
            raise SpikeproofError(
                f"A neuron's decay must lie in [0, 1], got {self.decay}; 1 keeps the whole potential."
            )
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            raise SpikeproofError(f"A neuron's threshold must be positive, got {self.threshold}.")
        if self.reset not in ("hard", "soft"):
            raise SpikeproofError(f"A neuron's reset must be 'hard' or 'soft', got {self.reset!r}.")
