"""The readable op against a slower, independent one, and against true derivatives."""

import pytest
import torch
from slow_fire import draw_case, run_op, slow_fire

from spikeproof.spiking import ArcTan, Hinge, Neuron, Rectangular, Sigmoid, SuperSpike, Triangle
from spikeproof.spiking.ops import reference
from spikeproof.spiking.ops.reference import fire

NEURONS = [
    Neuron(),
    Neuron(detach_reset=True, decay=0.9),
    Neuron(reset="soft", threshold=0.7, surrogate=Sigmoid(3.0)),
    Neuron(reset="soft", detach_reset=True, decay=0.5, surrogate=SuperSpike()),
    Neuron(threshold=0.5, decay=0.5, surrogate=Rectangular(1.2)),
    Neuron(decay=0.0, surrogate=ArcTan(3.0)),
]


def check(op, current, neuron, cotangents, **options):
    """Assert that the op agrees with the slow one in every output and in the gradient."""
    found = run_op(op, current, neuron, cotangents, **options)
    every = {k: v.expand_as(current) for k, v in options.items() if k in ("decay", "gain")}
    expected = slow_fire(current, neuron, cotangents, **(options | every))
    noise = options.get("noise")
    decisions = expected["margins"] + (0 if noise is None else noise.double())
    # No decision may hang on rounding; exactly on the threshold, as bfloat16 currents often are, is exact everywhere.
    assert ((decisions.abs() > 1e-6) | (decisions == 0)).all()
    assert 0.1 < expected["spikes"].mean() < 0.9
    assert torch.equal(found.pop("spikes"), expected["spikes"])
    gradient, rounding = found.pop("gradient"), torch.finfo(current.dtype).eps
    wide = torch.finfo(torch.promote_types(current.dtype, torch.float32)).eps
    for name in ("on_decay", "on_gain"):
        if name in found:  # the slow op gives it neuron by neuron
            summed = expected[name].sum_to_size(found[name].shape)
            atol = 64 * wide * summed.abs().max().item()
            torch.testing.assert_close(found.pop(name), summed, rtol=rounding, atol=atol)
    scale = expected["gradient"].abs().max().item()
    torch.testing.assert_close(gradient, expected["gradient"], rtol=rounding, atol=32 * wide * scale)
    for name, part in found.items():
        torch.testing.assert_close(
            part, expected[name], rtol=16 * wide, atol=32 * wide, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.sweep
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


def _draw_like(shape, low, high):
    return low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


LESS = {"a number for each step": (3, 1, 1), "each channel": (3, 1, 5), "each position": (3, 7, 1), "all": (3, 7, 5)}


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("less", LESS.values(), ids=LESS)
@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_decay_and_gain_agree_with_the_slow_op(reset, detach_reset, less, dtype):
    neuron = Neuron(decay=0.3, threshold=0.7, reset=reset, detach_reset=detach_reset)
    current, noise, cotangents = draw_case(dtype=dtype, noisy=True, seed=4)
    decay, gain = _draw_like(less, 0.2, 1.0).to(dtype), _draw_like(less, 0.6, 1.5).to(dtype)
    check(fire, current, neuron, cotangents, decay=decay, gain=gain, noise=noise, hinge_width=0.45)


@pytest.mark.parametrize("shape", [(3, 1), (3, 5)], ids=["a number for each step", "each channel"])
def test_decay_and_gain_without_the_axes_of_many_broadcast_too(shape):
    current, _, cotangents = draw_case(dtype=torch.float64, seed=4)
    decay, gain = _draw_like(shape, 0.2, 1.0), _draw_like(shape, 0.6, 1.5)
    short = run_op(fire, current, Neuron(), cotangents, decay=decay, gain=gain, hinge_width=0.3)
    long = run_op(fire, current, Neuron(), cotangents, decay=decay[:, None], gain=gain[:, None], hinge_width=0.3)
    for name, part in short.items():
        torch.testing.assert_close(part, long[name].view(part.shape), rtol=1e-12, atol=1e-12)


def test_a_decay_equal_to_the_neurons_and_a_gain_of_one_change_nothing():
    current, _, cotangents = draw_case(dtype=torch.float64, seed=4)
    neuron = Neuron(decay=0.7)
    plain = run_op(fire, current, neuron, cotangents, hinge_width=0.3)
    decay, gain = torch.full((3, 1), 0.7, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)
    given = run_op(fire, current, neuron, cotangents, decay=decay, gain=gain, hinge_width=0.3)
    assert all(torch.equal(given[name], part) for name, part in plain.items())


def test_currents_as_maps_or_as_a_list_of_steps_are_the_flat_currents():
    flat, _, cotangents = draw_case((3, 2 * 4 * 3, 5), dtype=torch.float64, seed=4)
    expected = run_op(fire, flat, Neuron(), cotangents, hinge_width=0.3)
    maps = flat.view(3, 2, 4, 3, 5)
    found = run_op(fire, maps, Neuron(), [cotangents[0].view(maps.shape), *cotangents[1:]], hinge_width=0.3)
    listed = fire(list(maps), Neuron(), surrogate=Triangle(), want_moments=True)
    for name, part in expected.items():
        torch.testing.assert_close(found[name].view(part.shape), part, rtol=1e-13, atol=1e-13)
    assert torch.equal(listed.spikes.view(flat.shape), expected["spikes"])
    torch.testing.assert_close(listed.total, expected["total"], rtol=1e-13, atol=1e-13)


class _SmoothSpike(reference._Spike):
    """Sigmoid(4)'s primitive in the place of the step: now the backward, left as it is, is the true derivative."""

    @staticmethod
    def forward(ctx, margin, slope):
        ctx.save_for_backward(slope)
        return torch.sigmoid(4 * margin)


@pytest.mark.parametrize("noisy", [False, True], ids=["silent", "noisy"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_with_the_surrogates_primitive_for_the_step_every_gradient_is_the_true_derivative(monkeypatch, reset, noisy):
    monkeypatch.setattr(reference, "_Spike", _SmoothSpike)
    neuron = Neuron(threshold=0.6, reset=reset, surrogate=Sigmoid(4.0))
    current, noise, _ = draw_case((3, 4, 2), dtype=torch.float64, noisy=noisy, seed=1)
    decay, gain = _draw_like((3, 1, 2), 0.4, 1.0), _draw_like((3, 4, 1), 0.6, 1.5)

    def outputs(current, decay, gain):
        options = {"noise": noise, "want_moments": True, "cost": Hinge(0.8)}
        fired = fire(current, neuron, surrogate=neuron.surrogate, decay=decay, gain=gain, **options)
        return fired.spikes, fired.total, fired.total_of_squares, fired.cost_total

    leaves = [part.requires_grad_() for part in (current, decay, gain)]
    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-6, atol=1e-7)


def test_only_what_is_asked_comes_back():
    current = torch.rand(2, 3, 4)
    plain = fire(current, Neuron(), surrogate=Triangle())
    assert (plain.margins, plain.total, plain.total_of_squares, plain.cost_total) == (None,) * 4
    hinged = fire(current, Neuron(), surrogate=Triangle(), cost=Hinge(0.1))
    assert hinged.cost_total is not None and hinged.total is None and hinged.margins is None


def _statistics(neuron, hinge_width):
    def statistics(current):
        fired = fire(current, neuron, surrogate=neuron.surrogate, want_moments=True, cost=Hinge(hinge_width))
        return fired.total, fired.total_of_squares, fired.cost_total

    return statistics


@pytest.mark.parametrize(
    "neuron",
    [
        Neuron(decay=0.8, detach_reset=True),
        Neuron(decay=0.8, detach_reset=True, reset="soft"),
        Neuron(decay=0.8, surrogate=Triangle(0.001)),  # undetached, but no potential comes under the surrogate
        Neuron(decay=0.8, surrogate=Rectangular(0.002), reset="soft"),
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
