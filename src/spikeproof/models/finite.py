"""Whether the numbers that a network holds are numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikeproof.errors import SpikeproofError
from spikeproof.models.wrapped import unwrapped


def check_finite(model: nn.Module, called: str = "this network", mend: str = "give other weights") -> None:
    """Refuse a network with a weight that is NaN or infinite, or a buffer with NaN.

    Its logits may be finite all the same: a potential that is NaN is below every threshold, so its neuron is silent.
    A buffer may hold infinities, as masks do.

    Args:
        model: any network, also wrapped.
        called: how the message names the network.
        mend: what to do.

    Raises:
        SpikeproofError: as said, with the name of the first such tensor.

    Example:
        >>> check_finite(nn.Linear(2, 2))
    """
    network = unwrapped(model)
    weights = {name: value.detach() for name, value in network.named_parameters() if _counts(value)}
    buffers = {name: value for name, value in network.named_buffers() if _counts(value)}
    # Sums, since these are quick; one wait for all.
    sums = [value.sum(dtype=torch.float64) for value in (*weights.values(), *buffers.values())]
    if not sums or bool(torch.stack([each.to(sums[0].device) for each in sums]).isfinite().all()):
        return
    wrong = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    wrong += [name for name, value in buffers.items() if bool(value.isnan().any())]
    for name in wrong[:1]:
        raise SpikeproofError(
            f"{called[0].upper()}{called[1:]} holds NaN or an infinity in {name}, so nothing that is measured on it "
            f"means anything; {mend}."
        )


def _counts(value: Tensor) -> bool:
    """Whether it has numbers that may be NaN: lazy and meta tensors have none yet."""
    return not is_lazy(value) and value.is_floating_point() and value.device.type != "meta"
