"""The test vectors computed from the papers' own code (references, section 9)."""

import pytest
import torch

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Neuron, Site

CURRENT = (0.6, 0.5, 0.3, 0.9)
VECTORS = {  # decay: spikes, gradient undetached, gradient detached
    1.0: ((0, 1, 0, 1), (0.524659, -0.11772, 1.028, 0.8), (1.5, 0.9, 1.1, 0.8)),
    0.99: ((0, 1, 0, 1), (0.537758, -0.098236, 1.023423, 0.803), (1.49694, 0.906, 1.09497, 0.803)),
    0.5: ((0, 0, 0, 1), (0.907336, 0.960425, 0.89125, 0.75), (1.26875, 1.3375, 1.075, 0.75)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("decay", VECTORS)
def test_spikes_and_gradients_of_the_papers_code(decay, detached, dtype):
    spikes, *gradients = VECTORS[decay]
    current = torch.tensor(CURRENT, dtype=dtype).view(4, 1).requires_grad_()
    fired = Site(Neuron(decay=decay, detach_reset=detached), num_steps=4)(current)
    assert fired.dtype == dtype
    assert fired.flatten().tolist() == list(spikes)
    (gradient,) = torch.autograd.grad(fired.sum(), current)
    # The vectors are given to six decimals.
    torch.testing.assert_close(
        gradient.flatten().double(), torch.tensor(gradients[detached]).double(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("potential", "slope"), [(0.3, 0.91), (0.9, 0.19), (1.2, -0.96), (2.5, 0.0)])
def test_derivative_of_the_reset(potential, slope):
    """dm/du = (1 - s) - u h(u - 1), seen through a second step whose surrogate is 1 there: u[2] = m + 1 - m_value."""
    kept = potential if potential < 1 else 0.0
    current = torch.tensor([potential, 1 - kept], dtype=torch.float64).view(2, 1).requires_grad_()
    fired = Site(Neuron(), num_steps=2)(current)
    (gradient,) = torch.autograd.grad(fired[1].sum(), current)
    assert gradient[1].item() == pytest.approx(1.0)
    assert gradient[0].item() == pytest.approx(slope, abs=1e-12)


def test_threshold_itself_fires_and_just_below_does_not():
    below = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).item()
    assert Site(Neuron(), 1)(torch.tensor([[1.0], [below]])).flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("neuron", "spikes"),
    [
        (Neuron(), [1, 0, 1, 0]),  # hard: 1.5 -> 0, .4, 1.5 -> 0, .1
        (Neuron(reset="soft"), [1, 0, 1, 1]),  # soft: 1.5 -> .5, .9, 2.0 -> 1.0, 1.1
        (Neuron(threshold=0.4), [1, 1, 1, 0]),
        (Neuron(threshold=1.6), [0, 1, 0, 0]),  # 1.5, 1.9 -> 0, 1.1, 1.2
        (Neuron(threshold=1.6, decay=0.0), [0, 0, 0, 0]),
        (Neuron(decay=0.5, reset="soft", threshold=0.6), [1, 1, 1, 0]),  # 1.5->.9; .85->.25; 1.225->.625; .4125
    ],
    ids=str,
)
def test_reset_decay_and_threshold_by_hand(neuron, spikes):
    current = torch.tensor([1.5, 0.4, 1.1, 0.1], dtype=torch.float64).view(4, 1)
    assert Site(neuron, 4)(current).flatten().tolist() == spikes


@pytest.mark.parametrize(
    "wrong",
    [
        {"decay": -0.1},
        {"decay": 1.1},
        {"decay": float("nan")},
        {"threshold": 0.0},
        {"threshold": float("inf")},
        {"threshold": float("nan")},
        {"reset": "none"},
    ],
    ids=str,
)
def test_impossible_neurons_are_refused(wrong):
    with pytest.raises(SpikeproofError, match=next(iter(wrong))):
        Neuron(**wrong)
