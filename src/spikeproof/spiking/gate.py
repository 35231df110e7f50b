"""Stochastic gates on spikes (StoG, Ding et al., AAAI 2024): each spike passes with a probability of its neuron."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.sending import sent

LEAST_PROBABILITY = 0.1
_TEMPERATURE = 0.5


class BernoulliGate(nn.Module):
    """out = s * G with G ~ Bernoulli(p), p = clip(rate, 0.1, 1), drawn for every sample, step and neuron.

    As published: with u ~ U(0, 1), a = p / (1 - p + 1e-3) and L = u / (1 - u + 1e-3), G = 1[log a + log L >= 0], so
    that p = 1 passes .999 of the spikes. The gradient by p is that of the Concrete relaxation
    sigmoid((log a + log L) / 0.5), averaged over steps and samples, with 1 / (p (1 - p + 1e-3)) for d log a / dp, whose
    1e-3 keeps it finite at p = 1. The original's gradient has the opposite sign, which ``flipped`` reproduces. A rate
    at a bound has a gradient (the original's clip gives none there), a rate beyond it has none. The gate is random in
    training, at inference and under attack alike.

    Args:
        neurons: the shape [*space, C] of the spikes of one sample and step.
        flipped: True gives p the original's gradient, of the opposite sign.

    Attributes:
        rate: a parameter [*space, C], 1 at first; p is it, clipped to [0.1, 1].

    Example:
        >>> gate = BernoulliGate(torch.Size([5]))
        >>> gate(torch.ones(4, 2, 5)).shape
        torch.Size([4, 2, 5])
    """

    def __init__(self, neurons: torch.Size, *, flipped: bool = False) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(neurons))
        self.flipped = flipped

    def extra_repr(self) -> str:
        """Shape and sign, for the network's printed form."""
        return f"neurons={tuple(self.rate.shape)}, flipped={self.flipped}"

    def forward(self, spikes: Float[Tensor, "t n *space c"]) -> Float[Tensor, "t n *space c"]:
        """The spikes that pass; the others are 0. Each forward draws anew.

        Args:
            spikes: T steps of N samples, before pooling.
        """
        uniform = sent(torch.rand(spikes.shape), spikes.device)  # by the CPU's generator, as all noise here
        probability = self.rate.clamp(LEAST_PROBABILITY, 1.0)
        gates: Tensor = _Gate.apply(probability, uniform, -1.0 if self.flipped else 1.0)
        return spikes * gates.to(spikes.dtype)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, probability, uniform, sign):  # type: ignore[no-untyped-def]  # noqa: ANN001
        logit = torch.log(probability / (1 - probability + 1e-3)) + torch.log(uniform / (1 - uniform + 1e-3))
        ctx.save_for_backward(probability, logit)
        ctx.sign = sign
        return (logit >= 0).to(probability.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        probability, logit = ctx.saved_tensors
        soft = torch.sigmoid(logit / _TEMPERATURE)
        by_logit = (grad.to(soft.dtype) * soft * (1 - soft)).mean((0, 1))
        slope = 1 / (_TEMPERATURE * probability * (1 - probability + 1e-3))
        return ctx.sign * by_logit * slope, None, None
