"""HIRE-SNN (Kundu et al., ICCV 2021): input noise crafted from gradients that training has anyway, learned neurons.

A sample is trained on in N periods. The weights move after each, and the next period's image is moved by the sign of
the last one's gradient. Beside the weights each layer learns one decay and one threshold.

The authors publish code for testing only, so N and the two radii are ours. We deviate: their periods are T/N steps
long and hand the potentials on, so that N periods cost one pass over T steps, while ours are whole forwards of T steps
that begin at rest, as every forward here does: N times the work an epoch. Their networks have a dropout of 0.2 and no
batch norm, and sum the output over time; ours are this library's. Their soft reset with a detached spike and their
surrogate 0.3 max(0, 1 - |v|) are for the neuron to set, not for a defense.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.defense import Defense, Step
from spikeproof.defenses.foreign import own_sites
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.spiking import sites
from spikeproof.threat import Eps, Linf, OptionalEps, parse_eps


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class HIRE(Defense):
    """Each batch is trained on N times, from x'[1] = x; P projects to the ball and to [0, 1]::

        x'[i + 1] = P(x'[i] + a sign(grad_x'[i] L))

    The gradient is that of period i's backward, in train mode and of the whole loss. Each site learns one decay and one
    gain. A neuron of threshold theta on the current x spikes as one of threshold V does on (V / theta) x, its
    potentials scaled alike, whatever the reset; so the learned threshold is theta = V / gain. Behind a batch norm it is
    one factor on all of the norm's scales. Both begin where the neuron is, without weight decay. As in the authors'
    code nothing bounds them: a decay above 1, with which a potential grows by itself, is told in the run's metrics and
    its report (``train/beyond.py``).

    Training makes N optimiser steps for each batch of an epoch: divide the epochs by N to spend what plain training
    spends.

    In another library's network the noise is crafted alike, and decays and thresholds stay as they are.

    Args:
        eps: radius in pixels of [0, 1], also as text, "2/255".
        periods: N; 1 trains without noise, decays and thresholds alone.
        step_size: a; eps by default.

    Raises:
        SpikeproofError: an impossible radius, periods < 1, a step size that is not positive, a model without sites, or
            sites whose decay or gain another defense made.

    Example:
        >>> HIRE(eps="2/255").replays
        2

    Source: Kundu et al. 2021 (ICCV). Deviations: each period is a whole forward of T steps from rest, theirs T/N steps
    that hand the potentials on; N and both radii are ours.
    """

    eps: Eps = 2 / 255
    periods: int = 2
    step_size: OptionalEps = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_eps(self.eps))
        if self.periods < 1:
            raise SpikeproofError(f"HIRE needs periods >= 1, got {self.periods}; 2 is the least that crafts noise.")
        if self.step_size is not None:
            object.__setattr__(self, "step_size", parse_eps(self.step_size, "step size"))
            if self.step_size == 0:
                raise SpikeproofError("HIRE needs a step_size > 0; leave it out for eps.")

    @property
    def step_cost(self) -> float:
        return 1.16 * self.periods

    @property
    def perturbs(self) -> bool:
        return True

    @property
    def wants_image_gradient(self) -> bool:
        return True

    @property
    def replays(self) -> int:
        return self.periods

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the decays", "the gains"})

    @property
    def elsewhere(self) -> str:
        return "crafts its noise, and decays and thresholds stay as they are"

    def install(self, model: nn.Module) -> None:
        """Put one decay and one gain at every site of ours, with the neuron's values."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("HIRE learns at spiking sites and this model has none.")
        like = next(model.parameters())
        for name, site in own_sites(model).items():
            for learned, start in (("decay", site.neuron.decay), ("gain", 1.0)):
                parameter = getattr(site, learned)
                if parameter is None:
                    setattr(site, learned, nn.Parameter(like.new_full((1, 1), start)))
                elif parameter.shape != (1, 1):
                    raise SpikeproofError(
                        f"HIRE learns one {learned} a site, and {name} has {parameter.numel()} of another defense; "
                        "keep one of the two."
                    )

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Decays and gains, without weight decay."""
        learned = [part for site in own_sites(model).values() for part in (site.decay, site.gain)]
        return [{"params": learned, "weight_decay": 0.0}]

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """x in the first period, then the image that the period before has moved."""
        return step.clean if step.replay == 0 else step.memory.pop(_name(step))

    def learned(self, step: Step) -> None:
        """Make the next period's image."""
        if step.replay + 1 == self.periods:
            return
        assert step.images.grad is not None  # the training loop gives it to whoever wants it
        threat = Linf(self.eps)
        size = threat.eps if self.step_size is None else parse_eps(self.step_size)
        moved = step.images.detach() + size * step.images.grad.sign()
        step.memory[_name(step)] = threat.project(moved, step.clean)


def _name(step: Step) -> str:
    return f"HIRE/images/{step.part}"
