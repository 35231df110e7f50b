"""The readable op against a slower, independent one, and against true derivatives."""

import pytest
import torch
from slow_fire import draw_case, run_op, slow_fire

from spikeproof.spiking import ArcTan, Neuron, Rectangular, Sigmoid, SuperSpike, Triangle
from spikeproof.spiking.ops.reference import fire

NEURONS = [
    Neuron(),
    Neuron(detach_reset=True, leak=0.9),
    Neuron(reset="soft", threshold=0.7, surrogate=Sigmoid(3.0)),
    Neuron(reset="soft", detach_reset=True, leak=0.5, surrogate=SuperSpike()),
    Neuron(threshold=0.5, leak=0.5, surrogate=Rectangular(1.2)),
    Neuron(leak=0.0, surrogate=ArcTan(3.0)),
]


def check(op, current, neuron, cotangents, **options):
    """Assert that the op agrees with the slow one in every output and in the gradient."""
    found = run_op(op, current, neuron, cotangents, **options)
    expected = slow_fire(current, neuron, cotangents, **options)
    noise = options.get("noise")
    decisions = expected["margins"] + (0 if noise is None else noise.double())
    # No decision may hang on rounding; exactly on the threshold, as bfloat16 currents often are, is exact everywhere.
    assert ((decisions.abs() > 1e-6) | (decisions == 0)).all()
    assert 0.1 < expected["spikes"].mean() < 0.9
    assert torch.equal(found.pop("spikes"), expected["spikes"])
    gradient, rounding = found.pop("gradient"), torch.finfo(current.dtype).eps
    wide = torch.finfo(torch.promote_types(current.dtype, torch.float32)).eps
    scale = expected["gradient"].abs().max().item()
    torch.testing.assert_close(gradient, expected["gradient"], rtol=rounding, atol=32 * wide * scale)
    for name, part in found.items():
        torch.testing.assert_close(
            part, expected[name], rtol=16 * wide, atol=32 * wide, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("noisy", [False, True], ids=["silent", "noisy"])
@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_agrees_with_the_slow_op(neuron, noisy, dtype):
    current, noise, cotangents = draw_case(dtype=dtype, noisy=noisy, seed=4)
    check(fire, current, neuron, cotangents, noise=noise, hinge_width=0.45)


@pytest.mark.parametrize("noisy", [False, True], ids=["silent", "noisy"])
def test_sharpness_rescales_the_surrogate_element_by_element(noisy):
    current, noise, cotangents = draw_case(noisy=noisy, seed=5)
    sharpness = 0.3 + 4 * torch.rand(current.shape, generator=torch.Generator().manual_seed(1))
    options = {"noise": noise, "sharpness": sharpness, "surrogate": ArcTan(1.0), "hinge_width": 0.3}
    check(fire, current, Neuron(), cotangents, **options)


def test_only_what_is_asked_comes_back():
    current = torch.rand(2, 3, 4)
    plain = fire(current, Neuron(), surrogate=Triangle())
    assert (plain.margins, plain.total, plain.total_of_squares, plain.hinge_total) == (None,) * 4
    hinged = fire(current, Neuron(), surrogate=Triangle(), hinge_width=0.1)
    assert hinged.hinge_total is not None and hinged.total is None and hinged.margins is None


def _statistics(neuron, hinge_width):
    def statistics(current):
        fired = fire(current, neuron, surrogate=neuron.surrogate, want_moments=True, hinge_width=hinge_width)
        return fired.total, fired.total_of_squares, fired.hinge_total

    return statistics


@pytest.mark.parametrize(
    "neuron",
    [
        Neuron(leak=0.8, detach_reset=True),
        Neuron(leak=0.8, detach_reset=True, reset="soft"),
        Neuron(leak=0.8, surrogate=Triangle(0.001)),  # undetached, but no potential comes under the surrogate
        Neuron(leak=0.8, surrogate=Rectangular(0.002), reset="soft"),
    ],
    ids=str,
)
def test_statistics_have_their_true_derivative_where_the_surrogate_takes_no_part(neuron):
    """Spikes included: away from the threshold they are constant, so finite differences are the judge."""
    current = draw_case(dtype=torch.float64, seed=2)[0]
    margins = fire(current, neuron, surrogate=neuron.surrogate, want_margins=True).margins
    width = 0.45
    assert margins.abs().min() > 2e-3 and (margins.abs() - width).abs().min() > 1e-4
    assert (margins >= 0).any() and (margins.abs() < width).any()
    assert torch.autograd.gradcheck(_statistics(neuron, width), (current.requires_grad_(),), eps=1e-6, atol=1e-7)


def test_margins_are_detached_and_spikes_keep_the_currents_dtype():
    current = torch.rand(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    fired = fire(current, Neuron(), surrogate=Triangle(), want_margins=True, want_moments=True)
    assert not fired.margins.requires_grad and fired.spikes.dtype == torch.bfloat16
    assert fired.margins.dtype == fired.total.dtype == torch.float32
