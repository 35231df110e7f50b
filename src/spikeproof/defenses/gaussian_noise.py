"""Training on images with Gaussian noise, as Cohen, Rosenfeld and Kolter (ICML 2019) do before randomised smoothing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from spikeproof.checked import real
from spikeproof.defenses.defense import Defense, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(Defense):
    """Train on x + N(0, sigma^2 I), drawn anew in every step, and not clipped to [0, 1].

    The network then sees in training what :func:`spikeproof.certify` shows it, so give both the same sigma. By itself
    it gains little against attacks.

    Args:
        sigma: the noise's standard deviation in units of pixels of [0, 1], in (0, 1]. 0.12, 0.25, 0.5 and 1 are the
            paper's.

    Raises:
        SpikeproofError: a sigma out of its range.

    Example:
        >>> GaussianNoise(sigma=0.12).name
        'gaussian-noise'

    Source: Cohen et al. 2019, section 3.3 and their code. No deviation: theirs is not clipped either.
    """

    label: ClassVar[str] = "Gaussian noise"

    sigma: float = 0.25

    def __post_init__(self) -> None:
        real(self.sigma, "Gaussian noise", "sigma", 0, 1, above=True)

    @property
    def step_cost(self) -> float:
        return 1.0

    @property
    def perturbs(self) -> bool:
        return True

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """x + sigma times a draw."""
        return step.clean + self.sigma * step.gaussian()
