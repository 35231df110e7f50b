"""Votes of a random network: how often each class wins, and the network whose verdict is that vote."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.judge import checked
from spikeproof.checked import real
from spikeproof.sending import sent


class Smoothed(nn.Module):
    """The network that randomised smoothing certifies: each forward is one vote, f(x + N(0, sigma^2)), as one-hot.

    Averaged over forwards its logits are the shares of the votes, so an audit of it, which judges a random network by
    such an average, is of the very classifier that a certificate of the same sigma is of. The backward is that of the
    softmax of f's logits, since a vote has no slope.

    Args:
        net: f, any network from images [N,C,H,W] to logits [N,K].
        sigma: of the noise, in units of pixels; 0 takes the votes of a network that draws random numbers itself.

    Raises:
        SpikeproofError: a sigma that is negative or no number.

    Example:
        >>> from spikeproof.models import create_model
        >>> net = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
        >>> Smoothed(net, sigma=0.25)(torch.rand(2, 1, 8, 8)).detach().sum(1)
        tensor([1., 1.])

    Source: Cohen et al. 2019 (ICML).
    """

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net = net
        self.sigma = real(sigma, "Smoothing", "sigma", 0)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}"

    def forward(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        logits = self.net(noisy(images, self.sigma))
        soft = logits.softmax(1)
        votes = torch.zeros_like(soft).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        return votes + (soft - soft.detach())  # adds zero, and its gradient


def noisy(images: Float[Tensor, " n *chw"], sigma: float) -> Float[Tensor, " n *chw"]:
    """The images under Gaussian noise, not clipped; drawn by the CPU's generator, as all noise here."""
    if sigma == 0:
        return images
    drawn = torch.randn(images.shape, dtype=torch.float32, device="cpu")
    return images + sigma * sent(drawn, images.device).to(images.dtype)


@torch.no_grad()
def count_votes(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    sigma: float,
    draws: int,
    copies: int = 1,
    advance: Callable[[int], object] = lambda units: None,
) -> Int64[Tensor, "n k"]:
    """How often each class had the largest logit, of so many independent draws for each image.

    Args:
        model: in eval mode.
        sigma: of the noise that is added to every draw; 0 for none.
        copies: draws of an image in one forward. 1 for a network that draws random numbers itself: it may draw once
            for a whole batch.
        advance: told how many images were drawn after every forward.

    Raises:
        SpikeproofError: logits that are not finite.
    """
    total: Tensor | None = None
    done = 0
    while done < draws:
        now = min(copies, draws - done)
        logits = checked(model(noisy(images.repeat(now, *(1,) * (images.ndim - 1)), sigma)))
        votes = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        counted = votes.unflatten(0, (now, -1)).sum(0)
        total = counted if total is None else total + counted
        done += now
        advance(now * len(images))
    assert total is not None
    return total.long()
