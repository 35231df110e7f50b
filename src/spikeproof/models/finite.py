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
    held = {name: value for name, value in network.named_parameters() if _counts(value)}
    fine = {name: value.detach().isfinite().all() for name, value in held.items()}
    fine |= {name: ~value.isnan().any() for name, value in network.named_buffers() if _counts(value)}
    if not fine:
        return
    where = next(iter(fine.values())).device
    together = torch.stack([each.to(where) for each in fine.values()]).tolist()  # one wait for all
    if not all(together):
        name = next(name for name, good in zip(fine, together, strict=True) if not good)
        raise SpikeproofError(
            f"{called[0].upper()}{called[1:]} holds NaN or an infinity in {name}, so nothing that is measured on it "
            f"means anything; {mend}."
        )


def _counts(value: Tensor) -> bool:
    """Whether it has numbers that may be NaN: lazy and meta tensors have none yet."""
    return not is_lazy(value) and value.is_floating_point() and value.device.type != "meta"
