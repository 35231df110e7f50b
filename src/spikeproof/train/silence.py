"""Whether a network has fallen silent: it answers every image alike, so no gradient tells it anything of them."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.train.tally import Tally

# The last part of an epoch is listened to: some networks start silent and wake up.
_LATE = 0.75
_NAME = "spread of the logits"


def listen(sums: Tally, logits: Float[Tensor, "n classes"], over: float) -> None:
    """Add how far the logits of a part of a batch lie apart, in the last quarter of an epoch.

    Args:
        over: the share of the epoch that is over, in [0, 1).

    Example:
        >>> import torch
        >>> sums = Tally(torch.device("cpu"))
        >>> listen(sums, torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 0.9)
        >>> sums.read()
        {'spread of the logits': 2.0}
    """
    if over >= _LATE and len(logits) > 1:  # one image alone is like itself
        sums.add(_NAME, (logits.amax(0) - logits.amin(0)).amax())


def check_speaks(sums: Mapping[str, float], epoch: int) -> None:
    """Refuse to go on with a network that gave all images of every batch the same logits.

    Raises:
        SpikeproofError: it did.

    Example:
        >>> check_speaks({"spread of the logits": 0.1}, epoch=0)
    """
    if sums.get(_NAME) == 0:
        raise SpikeproofError(
            f"The network is silent at the end of epoch {epoch}: it gives all images the same logits, so it can learn "
            "nothing from them. Lower the weight of a defense or give it a warm-up; or lower the learning rate."
        )
