"""Into how large parts a step's batch is split."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from spikeproof.defenses import Defense
from spikeproof.models import SpikingModel
from spikeproof.train.config import TrainConfig
from spikeproof.train.least_part import check_parts
from spikeproof.train.microbatch import fitting_microbatch
from spikeproof.train.processes import Processes


def part_size(
    model: SpikingModel,
    image: UInt8[Tensor, "c h w"],
    defenses: Sequence[Defense],
    config: TrainConfig,
    processes: Processes,
) -> int:
    """Images in a part of a batch, over all processes: as many in each as the config says, or as fit.

    Raises:
        SpikeproofError: a last part with fewer images than processes, or too few for a batch norm.
    """
    whole, own = config.batch_size, config.microbatch
    if own is None:
        return whole
    if own == "auto":
        forwards = 1 + sum(defense.forwards - 1 for defense in defenses)
        share, bf16 = -(-whole // processes.world), config.precision == "bf16"
        fits = fitting_microbatch(model, image.float() / 255, share, bf16=bf16, forwards=forwards)
        own = min(processes.gather(fits))
    size = int(own) * processes.world
    processes.check_part(whole, size)
    check_parts(model, image, whole, size)
    return size
