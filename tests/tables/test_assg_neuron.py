"""ASSG's neuron is one of ours in other units."""

import torch

from spikeproof.spiking.ops import reference
from spikeproof.tables.assg_table import NEURON


class AsPublished(torch.autograd.Function):
    """1[v > 0] with the backward alpha - alpha^2 |v| inside 1 / alpha, alpha = 2."""

    @staticmethod
    def forward(ctx, margin):
        ctx.save_for_backward(margin)
        return (margin > 0).to(margin.dtype)

    @staticmethod
    def backward(ctx, outer):
        (margin,) = ctx.saved_tensors
        return outer * (2 - 4 * margin.abs()).clamp_min(0)


def published(currents):
    """m <- m + (x - m) / 2; fire above 1/2; m <- m (1 - s), s detached."""
    held, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        held = held + (current - held) / 2
        spike = AsPublished.apply(held - 0.5)
        held = held * (1 - spike.detach())
        spikes.append(spike)
    return torch.stack(spikes)


def test_spikes_and_gradients_are_theirs():
    torch.manual_seed(0)
    currents = torch.randn(6, 40, 8, dtype=torch.float64).mul(1.5).add(0.6)
    weights = torch.randn(6, 40, 8, dtype=torch.float64)
    theirs, ours = (currents.clone().requires_grad_() for _ in range(2))
    by_them = published(theirs)
    by_us = reference.fire(ours, NEURON, surrogate=NEURON.surrogate).spikes
    assert 0.1 < by_us.mean() < 0.9
    assert torch.equal(by_us, by_them)
    (by_them * weights).sum().backward()
    (by_us * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    assert ours.grad.count_nonzero() > 500
