"""Whether a network has fallen silent: it gives every image the same logits, so it can learn nothing from them."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.train.tally import Tally

# Only the last quarter of an epoch counts: some networks start silent and wake up.
_LATE = 0.75
_NAME = "spread of the logits"


def listen(sums: Tally, logits: Float[Tensor, "n classes"], over: float) -> None:
    """Add to ``sums`` how far apart the logits of a part of a batch lie, in the last quarter of an epoch.

    What is added is the largest difference between two images' logits of one class.

    Args:
        sums: of the epoch.
        logits: of one part of a batch; a single image says nothing and is left out.
        over: the share of the epoch that is over, in [0, 1).

    Example:
        >>> import torch
        >>> sums = Tally(torch.device("cpu"))
        >>> listen(sums, torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 0.9)
        >>> sums.read()
        {'spread of the logits': 2.0}
    """
    if over >= _LATE and len(logits) > 1:
        sums.add(_NAME, (logits.amax(0) - logits.amin(0)).amax())


def check_speaks(sums: Mapping[str, float], epoch: int) -> None:
    """Refuse to go on with a network that gave all images of every batch the same logits.

    Args:
        sums: of the epoch, from ``Tally.read``.
        epoch: which one, for the error message.

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
