"""FEEL (Xu et al., NeurIPS 2024): an image that loses its high frequencies step by step, and leaks that are learned.

Two switches: the paper's FE (frequency encoding, see :class:`spikeproof.coding.Frequency`) and EL (evolutionary leak).
As in the code, a leak is not bounded (one outside [0, 1] is told in the run's metrics and its report) and decays with
all other weights, and frames are not normalised. Deviation: the code's ResNet learns the first site's leak alone, here
every network learns those of all its sites.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from spikeproof.coding import Direct
from spikeproof.coding.frequency import Frequency
from spikeproof.defenses.defense import Defense
from spikeproof.defenses.foreign import own_neurons
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel
from spikeproof.spiking import sites


@dataclasses.dataclass(frozen=True, kw_only=True)
class FEEL(Defense):
    """The potential of every neuron leaks at every step by a learned factor, 1 at the start::

        u[t] = lambda[t, neuron] m[t-1] + current[t]

    and the image of step t keeps the frequencies within a radius r[t] that shrinks with t. A model that comes with a
    ``Frequency`` coding of its own radii keeps it.

    Args:
        frequency: whether images are coded by frequency.
        leak: whether leaks are learned.

    Raises:
        SpikeproofError: neither of the two; on installing, a model that has another coding.

    Example:
        >>> FEEL(frequency=False).label
        'FEEL'
    """

    frequency: bool = True
    leak: bool = True

    def __post_init__(self) -> None:
        if not (self.frequency or self.leak):
            raise SpikeproofError("A FEEL without frequency and leak does nothing; leave it out of the list.")

    @property
    def step_cost(self) -> float:
        return 1.6 if self.frequency else 1.1

    def install(self, model: nn.Module) -> None:
        if self.frequency and not isinstance(model, SpikingModel):
            raise SpikeproofError(
                "FEEL changes a spikeproof model's coding; make one with create_model, or give frequency=False."
            )
        if self.frequency and isinstance(model, SpikingModel) and not isinstance(model.coding, Frequency):
            if not isinstance(model.coding, Direct):
                raise SpikeproofError(
                    f"FEEL codes images by frequency and this model has the coding {model.coding}; "
                    "leave the model's coding out, or give frequency=False."
                )
            model.set_coding(Frequency())
        if self.leak:
            parameter = next(model.parameters())
            for name, neurons in own_neurons(self.label, model).items():
                site = sites(model)[name]
                if site.decay is None:  # a model that has learned decays goes on with them
                    site.decay = nn.Parameter(parameter.new_ones(site.num_steps, *neurons))

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the coding"} if self.frequency else ()) | frozenset({"the decays"} if self.leak else ())
