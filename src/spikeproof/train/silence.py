"""Whether a network has fallen silent: it gives every image the same logits, so it can learn nothing from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor

from spikeproof.errors import SpikeproofError
from spikeproof.train.tally import Tally

# Only the last quarter of an epoch decides: some networks start silent and wake up.
_LATE = 0.75
_FIRST_STEPS = 10  # of training, which decide nothing: a fresh network may need a few to wake up
# One that has not spoken yet may take so much of training to wake up: deep ones with few time steps do, by the gradient
# that their surrogates let pass (VGG11 at T = 2 or decay 0.5, in the first three of twelve epochs).
_PATIENCE = 0.25
_BEFORE, _NAME = "spread of the logits before", "spread of the logits"  # before: of all training, also older epochs


def listen(sums: Tally, logits: Float[Tensor, "n classes"], step: int, steps_an_epoch: int) -> None:
    """Add to ``sums`` how far apart the logits of a part of a batch lie, the last quarter of an epoch by itself.

    The last step always counts among that quarter.

    What is added is the largest difference between two images' logits of one class.

    Args:
        sums: of the epoch.
        logits: of one part of a batch; a single image says nothing and is left out.
        step: of training, from 0.
        steps_an_epoch: how many steps an epoch has.

    Example:
        >>> import torch
        >>> sums = Tally(torch.device("cpu"))
        >>> listen(sums, torch.tensor([[0.0, 1.0], [0.0, 3.0]]), step=19, steps_an_epoch=20)
        >>> sums.read()
        {'spread of the logits': 2.0}
    """
    if len(logits) > 1:
        decides = step >= _FIRST_STEPS and step % steps_an_epoch + 1 > _LATE * steps_an_epoch
        sums.add(_NAME if decides else _BEFORE, (logits.amax(0) - logits.amin(0)).amax())


def check_speaks(sums: Mapping[str, float], epoch: int, epochs: int, weights: Iterable[Tensor]) -> dict[str, float]:
    """Refuse to go on with a network that gave all images of every batch the same logits.

    One that was silent from the first batch of training on may still wake up: for a quarter of training, while a
    gradient reaches a weight.

    Args:
        sums: of the epoch, from ``Tally.read``.
        epoch: which one, from 0.
        epochs: of the whole training.
        weights: the parameters with the gradients of the last step. Biases and the like, of one dimension, do not
            count: the last layer's learn without any spike.

    Returns:
        What the next epoch's sums begin with: whether the network has ever spoken.

    Raises:
        SpikeproofError: it did.

    Example:
        >>> check_speaks({"spread of the logits": 0.1}, epoch=0, epochs=1, weights=[])
        {'spread of the logits before': 1.0}
    """
    has_spoken = bool(sums.get(_BEFORE) or sums.get(_NAME))
    heard = {_BEFORE: float(has_spoken)}
    if sums.get(_NAME) != 0:
        return heard
    may_wake_up = not has_spoken and epoch + 1 <= _PATIENCE * epochs
    if not (may_wake_up and any(each.ndim > 1 and each.grad is not None and each.grad.any() for each in weights)):
        raise SpikeproofError(
            f"The network is silent at the end of epoch {epoch}: it gives all images the same logits, so it can learn "
            "nothing from them. Lower the weight of a defense or give it a warm-up; lower the learning rate; or give "
            "the network more time steps."
        )
    return heard
